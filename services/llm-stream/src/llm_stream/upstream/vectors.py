"""An answer with embeddings, read around its vectors: those stay the bytes that they came as.

Two thousand vectors are a hundred megabytes of numbers, which nobody here needs. So each vector is cut out where its
bytes cannot be anything else, the small rest is parsed, and what the client is sent is put together from the two.
"""

import base64
import re
import sys
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import orjson

from llm_stream.ports import UpstreamBroken
from llm_stream.upstream.errors import error_in
from llm_stream.upstream.reported_usage import ReportedUsage, read_usage
from llm_stream.upstream.values import JsonObject, count, name, parse, position
from llm_stream.upstream.verdict import verdict

Form = Literal["float", "base64"]

VECTOR = re.compile(rb'"embedding"\s*:\s*(?=[\["])')
OF_NUMBERS = b"0123456789+-.eE, \t\r\n"
OF_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
FLOAT_BYTES = 4
# The members that every entry has; one that says more or less is written anew.
ENTRY_MEMBERS = frozenset({"object", "index", "embedding"})
# What stands in the parsed rest where a vector was.
CUT = "vector"


class _Vector(NamedTuple):
    """A vector as it came, brackets or quotation marks included."""

    raw: bytes
    form: Form
    dimensions: int


class Wanted(NamedTuple):
    """What was asked for; `model` and `estimate` (tokens of the input) stand in for what an upstream leaves out."""

    inputs: int
    form: Form
    model: str
    estimate: Callable[[], int]


class Embeddings(NamedTuple):
    """An answer with a vector for every input; `body` is what the client is sent."""

    body: bytes
    model: str
    usage: ReportedUsage | None


def read_embeddings(body: bytes, wanted: Wanted) -> Embeddings:
    """The answer in a body, with its vectors in the form that was wanted and in the order of the inputs.

    Raises UpstreamError on what is none, or has not one vector for each input.
    """
    vectors: list[_Vector] = []
    content = _parsed(_without_vectors(body, vectors))
    if (reported := error_in(content)) is not None:
        raise verdict(reported)
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UpstreamBroken("the upstream sent an answer without embeddings")
    if len(entries) != wanted.inputs:
        raise UpstreamBroken(f"the upstream sent {len(entries)} embeddings for {wanted.inputs} inputs")
    ordered = _ordered(entries, vectors)
    model = name(content.get("model")) or wanted.model
    # Nothing is generated, and most say so by leaving the count out.
    reported_usage = _usage(content)
    usage = read_usage({**reported_usage, "completion_tokens": 0}) if reported_usage else None
    if _is_openais(content, entries) and all(vector.form == wanted.form for vector in ordered):
        return Embeddings(body, model, usage)
    if not reported_usage:
        tokens = wanted.estimate()
        reported_usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    head = {**content, "model": model, "usage": reported_usage}
    return Embeddings(_written(head, [_in_form(vector, wanted.form) for vector in ordered]), model, usage)


def _usage(content: JsonObject) -> JsonObject:
    """The usage as clients read it; empty where none is reported. Some report the total alone: it is the input's."""
    usage = content.get("usage")
    if not isinstance(usage, dict):
        return {}
    prompt, total = count(usage.get("prompt_tokens")), count(usage.get("total_tokens"))
    prompt = total if prompt is None else prompt
    if prompt is None:
        return {}
    return {**usage, "prompt_tokens": prompt, "total_tokens": prompt if total is None else total}


def _without_vectors(body: bytes, vectors: list[_Vector]) -> bytes:
    """The body with a number in place of each vector; one of an unusual kind is left where it is."""
    parts, copied, at = [], 0, 0
    while (found := VECTOR.search(body, at)) is not None:
        start = found.end()
        end = body.find(b"]" if body[start : start + 1] == b"[" else b'"', start + 1) + 1
        vector = _vector(body[start:end]) if end else None
        at = end or len(body)
        if vector is not None:
            parts += [body[copied:start], b'{"%b":%d}' % (CUT.encode(), len(vectors))]
            vectors.append(vector)
            copied = end
    return b"".join([*parts, body[copied:]])


def _vector(raw: bytes) -> _Vector | None:
    """The vector that these bytes are; None where they are anything else."""
    inner = raw[1:-1]
    if raw[:1] == b"[":
        if not inner.strip() or b",," in inner or inner.translate(None, OF_NUMBERS):
            return None
        return _Vector(raw, "float", inner.count(b",") + 1)
    dimensions, odd = divmod(len(inner) * 3 // 4 - inner[-2:].count(b"="), FLOAT_BYTES)
    return None if odd or not dimensions or inner.translate(None, OF_BASE64) else _Vector(raw, "base64", dimensions)


def _parsed(rest: bytes) -> Any:
    try:
        return parse(rest)
    except ValueError as error:
        raise UpstreamBroken("the upstream sent a body that is not JSON") from error


def _ordered(entries: list[Any], vectors: list[_Vector]) -> list[_Vector]:
    """The vectors by their index, or as they come where there is none. Raises UpstreamBroken."""
    found: dict[int, _Vector] = {}
    for at, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UpstreamBroken("the upstream sent a malformed embedding")
        index = position(entry.get("index"), at)
        if index >= len(entries) or index in found:
            raise UpstreamBroken("the upstream numbered its embeddings wrongly")
        found[index] = _of_entry(entry.get("embedding"), vectors)
    ordered = [found[index] for index in range(len(entries))]
    if any(one.dimensions != other.dimensions for one, other in pairwise(ordered)):
        raise UpstreamBroken("the upstream sent embeddings of several dimensions")
    return ordered


def _of_entry(value: Any, vectors: list[_Vector]) -> _Vector:
    """The vector of an entry: one that was cut out, or one that has to be looked at as a value."""
    if isinstance(value, dict) and type(cut := value.get(CUT)) is int and 0 <= cut < len(vectors):
        return vectors[cut]
    if isinstance(value, list) and value and all(type(each) in (int, float) for each in value):
        return _Vector(orjson.dumps(value), "float", len(value))
    vector = _vector(b'"%b"' % value.encode()) if isinstance(value, str) else None
    if vector is None:
        raise UpstreamBroken("the upstream sent an embedding that is no vector")
    return vector


def _is_openais(content: JsonObject, entries: list[JsonObject]) -> bool:
    """Whether the answer is one to the letter, so that its bytes may be passed on as they are."""
    return (
        content.get("object") == "list"
        and isinstance(content.get("model"), str)
        and _usage(content) == content.get("usage")
        and all(
            entry.keys() == ENTRY_MEMBERS
            and entry["object"] == "embedding"
            and type(entry["index"]) is int
            and entry["index"] == at
            for at, entry in enumerate(entries)
        )
    )


def _in_form(vector: _Vector, form: Form) -> bytes:
    """The vector as the client wants it, single floats in little-endian order within base64 (as OpenAI has them)."""
    if vector.form == form:
        return vector.raw
    try:
        if form == "base64":
            return b'"%b"' % base64.b64encode(_packed(array("f", orjson.loads(vector.raw))).tobytes())
        return orjson.dumps(_packed(array("f", base64.b64decode(vector.raw[1:-1], validate=True))).tolist())
    except (ValueError, OverflowError, TypeError) as error:
        raise UpstreamBroken("the upstream sent an embedding that is no vector") from error


def _packed(floats: "array[float]") -> "array[float]":
    """The same between the machine's order of bytes and that of the wire."""
    if sys.byteorder == "big":
        floats.byteswap()
    return floats


def _written(content: JsonObject, vectors: list[bytes]) -> bytes:
    entries = [b'{"object":"embedding","index":%d,"embedding":%b}' % each for each in enumerate(vectors)]
    rest = orjson.dumps({key: value for key, value in content.items() if key not in ("object", "data")})
    return b'{"object":"list","data":[%b],%b' % (b",".join(entries), rest[1:])
