"""POST /v1/moderations: texts are flagged for the words in them, always the same way."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from sandbox.openai.calls import Call
from sandbox.openai.errors import invalid

# The categories of the provider, and words that stand for what is in them.
WORDS: Mapping[str, frozenset[str]] = {
    "harassment": frozenset({"moron"}),
    "harassment/threatening": frozenset(),
    "hate": frozenset({"vermin"}),
    "hate/threatening": frozenset(),
    "illicit": frozenset({"counterfeit"}),
    "illicit/violent": frozenset({"explosives"}),
    "self-harm": frozenset({"suicide"}),
    "self-harm/instructions": frozenset(),
    "self-harm/intent": frozenset(),
    "sexual": frozenset({"porn"}),
    "sexual/minors": frozenset(),
    "violence": frozenset({"murder"}),
    "violence/graphic": frozenset({"dismember"}),
}
WORD = re.compile(r"\w+")
MAX_INPUTS = 32
SURE, UNSURE = 0.98, 0.0001


async def answer(call: Call) -> web.StreamResponse:
    """Answer one moderation call."""
    results = [_result(text) for text in _texts(call.body.get("input"))]
    payload = {"id": f"modr-{secrets.token_hex(12)}", "model": call.model, "results": results}
    call.exchange.status = 200
    call.exchange.finish("completed")
    return web.Response(body=orjson.dumps(payload), content_type="application/json", headers=call.headers())


def _result(text: str) -> dict[str, Any]:
    words = {word.lower() for word in WORD.findall(text)}
    categories = {name: not words.isdisjoint(known) for name, known in WORDS.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": {name: SURE if found else UNSURE for name, found in categories.items()},
        "category_applied_input_types": {name: ["text"] for name in categories},
    }


def _texts(given: Any) -> list[str]:
    """The texts of the input: one, several, or parts, of which pictures are found harmless."""
    if given is None:
        raise invalid("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    items = given if isinstance(given, list) else [given]
    if not items or len(items) > MAX_INPUTS:
        raise invalid(f"'input' must hold 1 to {MAX_INPUTS} items.", "input")
    return [_text(item) for item in items]


def _text(item: Any) -> str:
    if isinstance(item, dict) and item.get("type") == "image_url":
        return ""
    text = item.get("text") if isinstance(item, dict) else item
    if not isinstance(text, str):
        raise invalid("'$.input' is invalid: expected texts or parts.", "input")
    return text
