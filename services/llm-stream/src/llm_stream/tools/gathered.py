"""Calls gathered from the pieces in which a stream tells them."""

from collections.abc import Collection, Iterable
from typing import Any

from llm_stream.tools.tool import Call
from llm_stream.upstream.tool_calls import new_id
from llm_stream.upstream.values import JsonObject


class _Gathered:
    """What is known of one call."""

    def __init__(self) -> None:
        self.id = ""
        self.names: list[str] = []
        self.arguments: list[str] = []

    def add(self, piece: JsonObject) -> None:
        self.id = self.id or str(piece.get("id") or "")
        function: Any = piece.get("function")
        if isinstance(function, dict):
            self.names.append(str(function.get("name") or ""))
            self.arguments.append(str(function.get("arguments") or ""))


def gathered(pieces: Iterable[JsonObject]) -> list[Call]:
    """The calls in the order of their indexes, from pieces that were given indexes; each with an id of its own."""
    calls: dict[int, _Gathered] = {}
    for piece in pieces:
        call = calls.get(piece["index"])
        if call is None:
            call = calls[piece["index"]] = _Gathered()
        call.add(piece)
    taken: set[str] = set()
    found = []
    for index in sorted(calls):
        call = calls[index]
        id = call.id if call.id and call.id not in taken else new_id()
        taken.add(id)
        found.append(Call(index, id, "".join(call.names), "".join(call.arguments)))
    return found


def called_in(chunks: Iterable[JsonObject]) -> list[Call]:
    """The calls that these chunks of one choice tell."""
    return gathered(piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls") or ())


def without_calls(chunks: Iterable[JsonObject], indexes: Collection[int]) -> list[JsonObject]:
    """The chunks without these calls; the others are numbered anew, since clients put them into a list."""
    numbers: dict[int, int] = {}
    found = []
    for chunk in chunks:
        pieces = chunk["choices"][0]["delta"].get("tool_calls") or ()
        kept = [
            {**piece, "index": numbers.setdefault(piece["index"], len(numbers))}
            for piece in pieces
            if piece["index"] not in indexes
        ]
        found.append(_with(chunk, kept, chunk["choices"][0]["finish_reason"]))
    return [chunk for chunk in found if _says_something(chunk)]


def without_end(chunks: Iterable[JsonObject]) -> list[JsonObject]:
    """What the chunks say beside calls, without an end."""
    return [chunk for chunk in (_with(each, [], None) for each in chunks) if _says_something(chunk)]


def _with(chunk: JsonObject, pieces: list[JsonObject], end: str | None) -> JsonObject:
    choice = chunk["choices"][0]
    delta = {key: value for key, value in choice["delta"].items() if key != "tool_calls"}
    if pieces:
        delta["tool_calls"] = pieces
    return {**chunk, "choices": [{**choice, "delta": delta, "finish_reason": end}]}


def _says_something(chunk: JsonObject) -> bool:
    choice = chunk["choices"][0]
    return bool(choice["delta"]) or choice["finish_reason"] is not None
