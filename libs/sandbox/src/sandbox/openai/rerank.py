"""POST /v1/rerank, as Cohere, Jina and vLLM have it: of each text, how many of the question's words it has."""

from typing import Any

import orjson
from aiohttp import web

from sandbox.openai.calls import Call
from sandbox.openai.errors import invalid
from sandbox.openai.text import count_tokens, stem, words

MAX_TEXTS = 1000


async def answer(call: Call) -> web.StreamResponse:
    """Answer one call; the best texts come first."""
    query, texts = call.body.get("query"), _texts(call.body.get("documents"))
    if not isinstance(query, str) or not query:
        raise invalid("Missing required parameter: 'query'.", "query", "missing_required_parameter")
    top = call.body.get("top_n")
    if top is not None and (type(top) is not int or top < 1):
        raise invalid("'top_n' must be a positive integer.", "top_n")
    scores = [score(query, text) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])[:top]
    payload = {
        "id": call.exchange.id,
        "model": call.model,
        "usage": {"total_tokens": sum(map(count_tokens, [query, *texts]))},
        "results": [{"index": index, "relevance_score": scores[index]} for index in order],
    }
    call.exchange.status = 200
    call.exchange.finish("completed")
    return web.Response(body=orjson.dumps(payload), content_type="application/json", headers=call.headers())


def score(query: str, text: str) -> float:
    """The share of the question's words that the text has."""
    wanted = {stem(word) for word in words(query)}
    return len(wanted & {stem(word) for word in words(text)}) / len(wanted) if wanted else 0.0


def _texts(given: Any) -> list[str]:
    if (
        not isinstance(given, list)
        or not 1 <= len(given) <= MAX_TEXTS
        or not all(isinstance(each, str) for each in given)
    ):
        raise invalid(f"'documents' must hold 1 to {MAX_TEXTS} texts.", "documents")
    return given
