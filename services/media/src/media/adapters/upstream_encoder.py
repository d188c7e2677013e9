"""The port `Encoder` on OpenAI's embeddings endpoint, and on what answers as it does: an alias of Sonant too."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from common.failures import ProviderDown
from common.providers.openai_client import OpenAiClient
from common.providers.policy import CallLimits, Policy
from common.providers.provider_registry import ProviderRegistry
from media.adapters.model_server import open_client, verdict_on
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

    def __init__(self, client: OpenAiClient, policy: Policy, model: str, dimensions: int) -> None:
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
        client = await self._client.ready()

        async def send() -> list[list[float]]:
            answer = await client.embeddings.create(
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
    policy = Policy(PROVIDER, verdict_on("embedding"), limits=LIMITS, registry=registry)
    async with open_client(settings.embedding_url or "", settings.embedding_key_env, LIMITS) as client:
        yield UpstreamEncoder(client, policy, settings.embedding_model, settings.embedding_dimensions)
