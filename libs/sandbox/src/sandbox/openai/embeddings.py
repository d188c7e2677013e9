"""POST /v1/embeddings: deterministic unit vectors in which texts that share words lie close together."""

import base64
import hashlib
import math
from array import array
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import web

from sandbox.openai.calls import Call
from sandbox.openai.errors import ApiError, invalid
from sandbox.openai.text import count_tokens, stem, words

DIMENSIONS = {"text-embedding-3-large": 3072}
DEFAULT_DIMENSIONS = 1536
MAX_DIMENSIONS = 3072
MAX_INPUTS = 2048
# Several buckets per word make an accidental clash of two words cost little.
BUCKETS_PER_WORD = 4


async def answer(call: Call) -> web.StreamResponse:
    """Answer one embeddings call."""
    texts = _texts(call.body.get("input"))
    size = _dimensions(call)
    encode = _encoder(call.body.get("encoding_format"))
    data = [
        {"object": "embedding", "index": index, "embedding": encode(vector(text, size))}
        for index, text in enumerate(texts)
    ]
    tokens = sum(count_tokens(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    payload = {"object": "list", "data": data, "model": call.model, "usage": usage}
    call.exchange.status = 200
    call.exchange.finish("completed")
    return web.Response(body=orjson.dumps(payload), content_type="application/json", headers=call.headers())


def vector(text: str, size: int) -> "array[float]":
    """Return a unit vector of `size` single-precision floats."""
    sums = [0.0] * size
    for word in words(text) or [text]:
        for bucket, sign in _buckets(stem(word)):
            sums[bucket % size] += sign
    length = math.sqrt(sum(each * each for each in sums))
    if not length:
        sums[0], length = 1.0, 1.0
    return array("f", [each / length for each in sums])


@lru_cache(maxsize=16_384)
def _buckets(word: str) -> tuple[tuple[int, float], ...]:
    digest = hashlib.blake2b(word.encode(), digest_size=4 * BUCKETS_PER_WORD).digest()
    numbers = array("I", digest)
    return tuple((number >> 1, 1.0 if number & 1 else -1.0) for number in numbers)


def _texts(given: Any) -> list[str]:
    if given is None:
        raise invalid("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    items = given if isinstance(given, list) and not _is_tokens(given) else [given]
    if not items or len(items) > MAX_INPUTS:
        raise invalid(f"'input' must hold 1 to {MAX_INPUTS} items.", "input")
    return [_text(item) for item in items]


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(each) is int for each in given)


def _text(item: Any) -> str:
    if _is_tokens(item):
        return " ".join(map(str, item))
    if not isinstance(item, str) or not item:
        raise invalid("'$.input' is invalid: expected non-empty strings or arrays of tokens.", "input")
    return item


def _dimensions(call: Call) -> int:
    size = call.body.get("dimensions")
    if size is None:
        return DIMENSIONS.get(call.model, DEFAULT_DIMENSIONS)
    if type(size) is not int or not 1 <= size <= MAX_DIMENSIONS:
        message = f"Invalid 'dimensions': expected an integer from 1 to {MAX_DIMENSIONS}."
        raise invalid(message, "dimensions")
    return size


def _as_base64(values: "array[float]") -> str:
    return base64.b64encode(values.tobytes()).decode()


def _encoder(wanted: Any) -> Any:
    encoders = {None: array.tolist, "float": array.tolist, "base64": _as_base64}
    if not isinstance(wanted, str | None) or wanted not in encoders:
        raise ApiError(400, "'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
    return encoders[wanted]
