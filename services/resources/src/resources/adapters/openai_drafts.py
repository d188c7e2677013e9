"""The model that drafts tools, through the OpenAI API."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import openai
from openai.types.shared_params import ResponseFormatJSONObject

from common.failures import ProviderDown
from common.providers.metrics import API_CALLS, API_ERRORS, API_SECONDS
from common.providers.retry_after import retry_after
from resources.ports import DraftingModel, Message
from resources.settings import ResourcesSettings

PROVIDER = "drafting"
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4o-mini"
SANDBOX_MODEL = "sandbox"
# The largest draft that is allowed has about 16 KiB.
MAX_TOKENS = 4_000
JSON: ResponseFormatJSONObject = {"type": "json_object"}
CALL_SECONDS = 30.0
RETRIES = 1


class OpenAiModel:
    """The port `DraftingModel` on chat completions in JSON mode."""

    def __init__(self, client: openai.AsyncOpenAI, name: str) -> None:
        self._client = client
        self.name = name

    async def complete(self, messages: Sequence[Message]) -> str:
        conversation: list[Any] = [*messages]
        API_CALLS.labels(PROVIDER, "draft").inc()
        with API_SECONDS.labels(PROVIDER, "draft").time():
            try:
                answer = await self._client.chat.completions.create(
                    model=self.name,
                    messages=conversation,
                    response_format=JSON,
                    max_completion_tokens=MAX_TOKENS,
                )
            # The package lets the errors of a body that is no JSON through as they are.
            except (openai.OpenAIError, ValueError) as error:
                raise _down(error) from None
        return (answer.choices[0].message.content or "") if answer.choices else ""


def _down(error: Exception) -> ProviderDown:
    API_ERRORS.labels(PROVIDER, "draft", type(error).__name__).inc()
    message = "The drafting model did not answer."
    if isinstance(error, openai.APIStatusError):
        return ProviderDown(message, status=error.status_code, retry_after=retry_after(error.response.headers))
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
    # The sandbox and many local servers take any key, and the package insists on one.
    async with openai.AsyncOpenAI(
        api_key=key or "none", base_url=url, timeout=CALL_SECONDS, max_retries=RETRIES
    ) as client:
        yield OpenAiModel(client, settings.draft_model or model)


def _upstream(settings: ResourcesSettings, key: str) -> tuple[str | None, str]:
    if settings.draft_url:
        return settings.draft_url, OPENAI_MODEL
    if key:
        return OPENAI_URL, OPENAI_MODEL
    return (f"{settings.sandbox_url}/v1", SANDBOX_MODEL) if settings.sandbox_url else (None, "")
