"""Vectors by an embeddings endpoint: the sandbox speaks as OpenAI does, and fails on request."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from common.failures import ProviderDown, Refused
from common.providers.provider_registry import ProviderRegistry
from media.adapters.upstream_encoder import UpstreamEncoder, open_upstream_encoder
from media.settings import MediaSettings

MODEL = "text-embedding-3-small"


def settings(**given: Any) -> MediaSettings:
    own = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "instance": "media-0"}
    return MediaSettings(**{**own, **given})


@asynccontextmanager
async def encoder(sandbox_url: str, model: str = MODEL) -> AsyncIterator[UpstreamEncoder]:
    named = settings(embedding_url=f"{sandbox_url}/v1", embedding_model=model)
    async with open_upstream_encoder(named, ProviderRegistry()) as opened:
        yield opened


async def test_texts_and_questions_have_vectors_of_the_size_asked_for(sandbox_url: str) -> None:
    async with encoder(sandbox_url) as opened:
        texts = [f"text {number}" for number in range(70)]
        vectors = await opened.embed("job", texts)
        question = await opened.question("org", "text 3")
    assert len(vectors) == len(texts)
    assert {len(json.loads(vector)) for vector in [*vectors, question]} == {384}
    assert vectors[3] == question


async def test_a_model_that_fails_is_away_and_one_that_refuses_says_so(sandbox_url: str) -> None:
    async with encoder(sandbox_url, f"{MODEL}+status-500") as opened:
        with pytest.raises(ProviderDown):
            await opened.question("org", "text")
    async with encoder(sandbox_url, f"{MODEL}+status-401") as opened:
        with pytest.raises(Refused) as refused:
            await opened.question("org", "text")
    assert refused.value.code == "model_refused"


def test_a_model_is_known_here_or_at_an_address() -> None:
    with pytest.raises(ValidationError, match="no model 'text-embedding-3-small' is known"):
        settings(embedding_model=MODEL)
    with pytest.raises(ValidationError, match="cannot be a model at embedding_url"):
        settings(embedding_url="http://127.0.0.1:1/v1")
