"""The second look by a server: the sandbox answers as rerankers do, and fails on request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from common.failures import ProviderDown, Refused
from common.providers.provider_registry import ProviderRegistry
from media.adapters.upstream_reranker import UpstreamReranker, open_upstream_reranker
from media.settings import MediaSettings

MODEL = "rerank-sandbox"
TEXTS = ["The oven has two doors.", "The kettle holds two litres.", ""]


def settings(**given: Any) -> MediaSettings:
    own = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "instance": "media-0"}
    return MediaSettings(**{**own, **given})


@asynccontextmanager
async def reranker(url: str, model: str = MODEL) -> AsyncIterator[UpstreamReranker]:
    named = settings(rerank_url=f"{url}/v1", rerank_model=model)
    async with open_upstream_reranker(named, ProviderRegistry()) as opened:
        yield opened


async def test_each_text_has_its_score_whatever_the_order_of_the_answer(sandbox_url: str) -> None:
    async with reranker(sandbox_url) as opened:
        first, second, third = await opened.rerank("org", "How much does the kettle hold?", TEXTS)
    assert 0 < first < second <= 1
    assert third == 0


async def test_a_server_that_fails_is_away_and_one_that_refuses_says_so(sandbox_url: str) -> None:
    async with reranker(sandbox_url, f"{MODEL}+status-500") as opened:
        with pytest.raises(ProviderDown):
            await opened.rerank("org", "kettle", TEXTS)
    async with reranker(sandbox_url, f"{MODEL}+status-401") as opened:
        with pytest.raises(Refused) as refused:
            await opened.rerank("org", "kettle", TEXTS)
    assert refused.value.code == "model_refused"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"results": None},
        {"results": [{"index": 0, "relevance_score": 0.5}]},
        {"results": [{"index": at, "relevance_score": "much"} for at in range(3)]},
        {"results": [{"index": 7, "relevance_score": 0.5}] * 3},
    ],
)
async def test_an_answer_without_a_score_for_each_text_is_none(answer: object) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/v1/rerank", answering)
    async with TestServer(app) as server, reranker(str(server.make_url("")).rstrip("/")) as opened:
        with pytest.raises(ProviderDown, match="without a score for each of 3 texts"):
            await opened.rerank("org", "kettle", TEXTS)


def test_a_model_is_known_here_or_at_an_address() -> None:
    with pytest.raises(ValidationError, match="no model 'rerank-sandbox' is known"):
        settings(rerank_model=MODEL)
    with pytest.raises(ValidationError, match="cannot be a model at rerank_url"):
        settings(rerank_url="http://127.0.0.1:1/v1")
    with pytest.raises(ValidationError, match="cannot be a model at rerank_url"):
        settings(rerank_url="http://127.0.0.1:1/v1", rerank_model="")
