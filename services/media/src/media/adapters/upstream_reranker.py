"""The port `Reranker` on `POST /rerank`, as Cohere, Jina and vLLM have it beside OpenAI's endpoints."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from common.failures import ProviderDown
from common.providers.openai_client import OpenAiClient
from common.providers.policy import CallLimits, Policy
from common.providers.provider_registry import ProviderRegistry
from media.adapters.model_server import open_client, verdict_on
from media.settings import MediaSettings

PROVIDER = "reranking"
OPERATION = "rerank"
# Somebody waits for the answer.
LIMITS = CallLimits(connect_seconds=2.0, first_byte_seconds=10.0, total_seconds=10.0, concurrency=8)


class UpstreamReranker:
    """One model at one address."""

    def __init__(self, client: OpenAiClient, policy: Policy, model: str) -> None:
        self._client = client
        self._policy = policy
        self._model = model

    async def rerank(self, share: str, query: str, texts: Sequence[str]) -> list[float]:
        del share  # the policy bounds the calls of all
        body = {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        client = await self._client.ready()

        async def send() -> object:
            return await client.post("/rerank", body=body, cast_to=object)

        answer = await self._policy.read(self._policy.begin(LIMITS.total_seconds), OPERATION, send)
        scores = _scores(answer)
        if sorted(scores) != list(range(len(texts))):
            raise ProviderDown(f"{self._model} answered without a score for each of {len(texts)} texts.")
        return [scores[index] for index in range(len(texts))]


def _scores(answer: Any) -> dict[int, float]:
    """The scores by the place of their text, between 0 and 1; empty for an answer of another shape."""
    try:
        return {int(each["index"]): min(max(float(each["relevance_score"]), 0.0), 1.0) for each in answer["results"]}
    except (KeyError, TypeError, ValueError):
        return {}


@asynccontextmanager
async def open_upstream_reranker(
    settings: MediaSettings, registry: ProviderRegistry
) -> AsyncIterator[UpstreamReranker]:
    """The reranker at `settings.rerank_url`."""
    policy = Policy(PROVIDER, verdict_on("rerank"), limits=LIMITS, registry=registry)
    async with open_client(settings.rerank_url or "", settings.rerank_key_env, LIMITS) as client:
        yield UpstreamReranker(client, policy, settings.rerank_model)
