"""The package `openai`, loaded with the first call: 30 MB and a second of work, which many processes never need.

Nothing that serves imports it anywhere else.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai


class OpenAiClient:
    """A client of one server, made by `open_openai`."""

    def __init__(self, base_url: str, key: str, seconds: tuple[float, float], retries: int) -> None:
        self._base_url = base_url
        self._key = key
        self._seconds = seconds
        self._retries = retries
        self._client: openai.AsyncOpenAI | None = None
        self._loading = asyncio.Lock()

    async def ready(self) -> "openai.AsyncOpenAI":
        """The client itself; the first call loads the package, beside the event loop."""
        async with self._loading:
            if self._client is None:
                await asyncio.to_thread(importlib.import_module, "openai")
                self._client = self._opened()
            return self._client

    def _opened(self) -> "openai.AsyncOpenAI":
        import openai

        answer, connect = self._seconds
        return openai.AsyncOpenAI(
            # The package insists on a key, and many local servers take any.
            api_key=self._key or "none",
            base_url=self._base_url,
            timeout=openai.Timeout(answer, connect=connect),
            max_retries=self._retries,
        )

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()


@asynccontextmanager
async def open_openai(
    base_url: str, key: str, *, first_byte_seconds: float, connect_seconds: float, retries: int = 0
) -> AsyncIterator[OpenAiClient]:
    """A client of the server at this address; an empty `key` is for servers that take any."""
    client = OpenAiClient(base_url, key, (first_byte_seconds, connect_seconds), retries)
    try:
        yield client
    finally:
        await client.close()


def status_error(error: Exception) -> "openai.APIStatusError | None":
    """The error as an answer with a status; None for every other one."""
    import openai

    return error if isinstance(error, openai.APIStatusError) else None


def is_no_answer(error: Exception) -> bool:
    """Whether an error of the package, or of the network beneath it, says that there was no proper answer."""
    import httpx2
    import openai

    return isinstance(error, openai.OpenAIError | httpx2.HTTPError | OSError)
