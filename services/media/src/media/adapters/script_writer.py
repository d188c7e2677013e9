"""The port `ScriptWriter` on chat completions in JSON mode, by any OpenAI-compatible server."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from common.failures import ProviderDown, Refused
from common.providers.openai_client import OpenAiClient, is_no_answer, open_openai, status_error
from common.providers.policy import CallLimits, Policy
from common.providers.provider_registry import ProviderRegistry
from common.providers.retry_after import retry_after
from media.creator_ports import ScriptWriter
from media.settings import MediaSettings

if TYPE_CHECKING:
    from openai.types.shared_params import ResponseFormatJSONObject

PROVIDER = "script"
OPENAI_URL = "https://api.openai.com/v1"
JSON: "ResponseFormatJSONObject" = {"type": "json_object"}
# Six scenes have some thousand characters.
MAX_TOKENS = 2_000
LIMITS = CallLimits(connect_seconds=3.0, first_byte_seconds=45.0, total_seconds=60.0, concurrency=8)


class ChatScriptWriter:
    """One model of one server."""

    def __init__(self, client: OpenAiClient, policy: Policy, model: str) -> None:
        self._client = client
        self._policy = policy
        self.name = model

    async def write(self, conversation: Sequence[dict[str, str]]) -> str:
        """As the port says."""
        messages: list[Any] = list(conversation)
        client = await self._client.ready()

        async def send() -> str:
            answer = await client.chat.completions.create(
                model=self.name, messages=messages, response_format=JSON, max_completion_tokens=MAX_TOKENS
            )
            return (answer.choices[0].message.content or "") if answer.choices else ""

        return await self._policy.read(self._policy.begin(), "script", send)


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error of the package means; None for one that is ours."""
    if (failed := status_error(error)) is not None:
        message = f"The model that writes scripts failed with status {failed.status_code}."
        return ProviderDown(message, status=failed.status_code, retry_after=retry_after(failed.response.headers))
    if is_no_answer(error) or isinstance(error, ValueError):
        return ProviderDown(f"The model that writes scripts did not answer properly: {type(error).__name__}.")
    return None


@asynccontextmanager
async def open_script_writer(
    settings: MediaSettings, registry: ProviderRegistry, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[ScriptWriter | None]:
    """The model of the settings; OpenAI's where there is a key; else none."""
    key = environment.get(settings.script_key_env, "").strip()
    url = settings.script_url or (OPENAI_URL if key else None)
    policy = Policy(PROVIDER, verdict, configured=url is not None, limits=LIMITS, registry=registry)
    if url is None:
        yield None
        return
    # Tries are the policy's.
    async with open_openai(
        url, key, first_byte_seconds=LIMITS.first_byte_seconds, connect_seconds=LIMITS.connect_seconds
    ) as client:
        yield ChatScriptWriter(client, policy, settings.script_model)
