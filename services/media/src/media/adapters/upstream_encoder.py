"""The port `Encoder` on OpenAI's embeddings endpoint, and on what answers as it does: an alias of Sonant too."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2
import openai

from common.failures import ProviderDown, Refused
from common.providers.policy import CallLimits, Policy
from common.providers.provider_registry import ProviderRegistry
from common.providers.retry_after import retry_after
from media.retrieval.encoders import written
from media.settings import MediaSettings

PROVIDER = "embeddings"
OPERATION = "embeddings"
LIMITS = CallLimits(connect_seconds=2.0, first_byte_seconds=20.0, total_seconds=60.0, concurrency=8)
# Somebody waits for the answer to a question.
QUESTION_SECONDS = 10.0
TEXTS_AT_ONCE = 64


class UpstreamEncoder:
    """One model at one address, whose vectors have so many numbers."""

    def __init__(self, client: openai.AsyncOpenAI, policy: Policy, model: str, dimensions: int) -> None:
        self.model = model
        self._client = client
        self._policy = policy
        self._dimensions = dimensions

    async def embed(self, share: str, texts: Sequence[str]) -> list[str]:
        del share  # the policy bounds the calls of all
        vectors: list[str] = []
        for at in range(0, len(texts), TEXTS_AT_ONCE):
            vectors += await self._made(list(texts[at : at + TEXTS_AT_ONCE]), LIMITS.total_seconds)
        return vectors

    async def question(self, share: str, text: str) -> str:
        del share
        [vector] = await self._made([text], QUESTION_SECONDS)
        return vector

    async def _made(self, texts: list[str], seconds: float) -> list[str]:
        async def send() -> list[list[float]]:
            answer = await self._client.embeddings.create(
                model=self.model, input=texts, dimensions=self._dimensions, encoding_format="float"
            )
            return [each.embedding for each in sorted(answer.data, key=lambda each: each.index)]

        vectors = await self._policy.read(self._policy.begin(seconds), OPERATION, send)
        if [len(vector) for vector in vectors] != [self._dimensions] * len(texts):
            raise ProviderDown(f"{self.model} made other vectors than {len(texts)} of {self._dimensions} numbers.")
        # Some milliseconds for many vectors: beside the event loop.
        return await asyncio.to_thread(lambda: [written(vector) for vector in vectors])


@asynccontextmanager
async def open_upstream_encoder(settings: MediaSettings, registry: ProviderRegistry) -> AsyncIterator[UpstreamEncoder]:
    """The encoder at `settings.embedding_url`."""
    policy = Policy(PROVIDER, verdict, limits=LIMITS, registry=registry)
    # The package insists on a key, and many local servers take any.
    key = os.environ.get(settings.embedding_key_env, "").strip() or "none"
    timeout = openai.Timeout(LIMITS.first_byte_seconds, connect=LIMITS.connect_seconds)
    # The policy tries again, within the time that its caller has.
    async with openai.AsyncOpenAI(
        api_key=key, base_url=settings.embedding_url, timeout=timeout, max_retries=0
    ) as client:
        yield UpstreamEncoder(client, policy, settings.embedding_model, settings.embedding_dimensions)


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error of the package means; None for one that is ours."""
    if isinstance(error, openai.APIStatusError):
        message = str(error.message)[:300]
        if error.status_code in (400, 401, 403, 404, 413, 422):
            return Refused(502, f"The embedding model refused: {message}", "embedding_refused", type="api_error")
        after = retry_after(error.response.headers)
        return ProviderDown(f"The embedding model failed: {message}", status=error.status_code, retry_after=after)
    if isinstance(error, openai.OpenAIError | httpx2.HTTPError | OSError):
        return ProviderDown(f"The embedding model did not answer properly: {type(error).__name__}.")
    return None
