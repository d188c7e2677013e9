"""The model that drafts tools, through the OpenAI API."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from common.failures import ProviderDown
from common.providers.metrics import API_CALLS, API_ERRORS, API_SECONDS
from common.providers.openai_client import OpenAiClient, is_no_answer, open_openai, status_error
from common.providers.retry_after import retry_after
from resources.ports import DraftingModel, Message
from resources.settings import ResourcesSettings

if TYPE_CHECKING:
    from openai.types.shared_params import ResponseFormatJSONObject

PROVIDER = "drafting"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4o-mini"
SANDBOX_MODEL = "sandbox"
# The largest draft that is allowed has about 16 KiB.
MAX_TOKENS = 4_000
JSON: "ResponseFormatJSONObject" = {"type": "json_object"}
CALL_SECONDS = 30.0
RETRIES = 1


class OpenAiModel:
    """The port `DraftingModel` on chat completions in JSON mode."""

    def __init__(self, client: OpenAiClient, name: str) -> None:
        self._client = client
        self.name = name

    async def complete(self, messages: Sequence[Message]) -> str:
        conversation: list[Any] = [*messages]
        client = await self._client.ready()
        API_CALLS.labels(PROVIDER, "draft").inc()
        with API_SECONDS.labels(PROVIDER, "draft").time():
            try:
                answer = await client.chat.completions.create(
                    model=self.name,
                    messages=conversation,
                    response_format=JSON,
                    max_completion_tokens=MAX_TOKENS,
                )
            # The package lets the errors of a body that is no JSON through as they are.
            except Exception as error:
                if not is_no_answer(error) and not isinstance(error, ValueError):
                    raise
                raise _down(error) from None
        return (answer.choices[0].message.content or "") if answer.choices else ""


def _down(error: Exception) -> ProviderDown:
    API_ERRORS.labels(PROVIDER, "draft", type(error).__name__).inc()
    message = "The drafting model did not answer."
    if (failed := status_error(error)) is not None:
        return ProviderDown(message, status=failed.status_code, retry_after=retry_after(failed.response.headers))
    return ProviderDown(message)


@asynccontextmanager
async def open_drafting_model(
    settings: ResourcesSettings, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[DraftingModel | None]:
    """The model of the settings: the one named, else OpenAI's where there is a key, else the sandbox, else none."""
    key = environment.get(settings.draft_key_env, "").strip()
    url, model = _upstream(settings, key)
    if url is None:
        yield None
        return
    async with open_openai(
        url, key, first_byte_seconds=CALL_SECONDS, connect_seconds=CALL_SECONDS, retries=RETRIES
    ) as client:
        yield OpenAiModel(client, settings.draft_model or model)


def _upstream(settings: ResourcesSettings, key: str) -> tuple[str | None, str]:
    if settings.draft_url:
        return settings.draft_url, OPENAI_MODEL
    if key:
        return OPENAI_URL, OPENAI_MODEL
    return (f"{settings.sandbox_url}/v1", SANDBOX_MODEL) if settings.sandbox_url else (None, "")
