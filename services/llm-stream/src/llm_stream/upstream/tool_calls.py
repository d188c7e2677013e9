"""Tool calls as clients put them together: an index for every piece, an id and a name once, arguments as text.

Clients join whatever text comes twice, an id or a name too; some servers repeat them with every piece. Some number no
call or all of them 0, some have no ids, and some send the arguments as the object that they are.
"""

import uuid
from typing import Any, NamedTuple

import orjson

from llm_stream.upstream.values import JsonObject, name, parse, position

# What is read of a piece; all else is passed on as it is.
OWN = frozenset({"index", "id", "type", "function"})


class _Call:
    """One call that has begun: its index, its name so far, and its arguments so far."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.named = ""
        self.arguments: list[str] = []

    def is_complete(self) -> bool:
        """Whether its arguments are a whole JSON value; a part of an object never is."""
        last = next((each for each in reversed(self.arguments) if not each.isspace()), "")
        if not last.rstrip().endswith(("}", "]")):
            return False
        try:
            parse("".join(self.arguments).encode())
        except ValueError:
            return False
        return True


class _OfChoice:
    """The calls of one choice, by their id and by the index the upstream gives them."""

    def __init__(self) -> None:
        self.by_id: dict[str, _Call] = {}
        self.by_theirs: dict[int, _Call] = {}
        self.begun = 0
        self.last: _Call | None = None

    def begin(self, theirs: int | None) -> _Call:
        """A call that begins, under their index unless that is taken."""
        taken = theirs is None or theirs in self.by_theirs or theirs < self.begun
        index = self.begun if taken or theirs is None else theirs
        self.begun = index + 1
        return _Call(index)


class ToolCallPieces:
    """Gives every piece of a streamed tool call the index of its call, and tells what is told once only once."""

    def __init__(self) -> None:
        self._choices: dict[int, _OfChoice] = {}

    def read(self, choice: int, pieces: Any) -> list[JsonObject]:
        """The pieces of one delta as they are sent; what is no piece is left out."""
        listed = pieces if isinstance(pieces, list) else [pieces]
        calls = self._choices.setdefault(choice, _OfChoice())
        return [self._read(calls, each) for each in listed if isinstance(each, dict)]

    def _read(self, calls: _OfChoice, piece: JsonObject) -> JsonObject:
        said = _Piece.of(piece)
        call = _continued(calls, said)
        begins = call is None
        if call is None:
            call = calls.begin(said.theirs)
        if said.id is not None:
            calls.by_id.setdefault(said.id, call)
        if said.theirs is not None:
            calls.by_theirs[said.theirs] = call
        calls.last = call
        told = {key: value for key, value in piece.items() if key not in OWN}
        told = {"index": call.index, **({"id": said.id or new_id(), "type": said.kind} if begins else {}), **told}
        if isinstance(given := piece.get("function"), dict):
            told["function"] = _function(call, given, said, begins=begins)
        return told


class _Piece(NamedTuple):
    """What a piece says about which call it is of."""

    theirs: int | None  # the upstream's index
    id: str | None
    kind: str
    name: str | None
    arguments: str

    @classmethod
    def of(cls, piece: JsonObject) -> "_Piece":
        index = position(piece.get("index"), -1)
        given = piece.get("function")
        function = given if isinstance(given, dict) else {}
        return cls(
            None if index == -1 else index,
            name(piece.get("id")),
            name(piece.get("type")) or "function",
            name(function.get("name")),
            arguments_text(function.get("arguments")),
        )


def _continued(calls: _OfChoice, piece: _Piece) -> _Call | None:
    """The call that a piece goes on with; None where it begins one.

    A name begins a call, also under an index that another call has: some servers number all of them 0. Others name the
    tool in every piece, or make up an id for each: those go on with a call of that name which is not complete.
    """
    if piece.id is not None and piece.id in calls.by_id:
        return calls.by_id[piece.id]
    call = calls.last if piece.theirs is None else calls.by_theirs.get(piece.theirs)
    if call is None:
        return None
    if piece.name is None:
        return None if piece.theirs is None and piece.id is not None else call
    told = bool(call.arguments)
    if piece.name != call.named:
        # A name may come in parts, or behind the id.
        return call if piece.id is None and not told else None
    if piece.theirs is None and piece.id is not None and not told:
        return None
    return call if not piece.arguments or not call.is_complete() else None


def _function(call: _Call, given: JsonObject, piece: _Piece, *, begins: bool) -> JsonObject:
    """The name where it was not told yet, and the arguments as text."""
    function = {key: value for key, value in given.items() if key not in ("name", "arguments")}
    if piece.name is not None and piece.name != call.named:
        call.named += piece.name
        function["name"] = piece.name
    if piece.arguments:
        call.arguments.append(piece.arguments)
    if piece.arguments or begins:
        function["arguments"] = piece.arguments
    return function


def new_id() -> str:
    """An id for a call that came without one: its result must name it."""
    return f"call_{uuid.uuid4().hex[:24]}"


def arguments_text(arguments: Any) -> str:
    """The arguments as clients read them; a server may send the object itself."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return orjson.dumps(arguments).decode()


def read_function_call(given: Any) -> Any:
    """What was there before tool calls, its arguments as text."""
    if not isinstance(given, dict) or isinstance(given.get("arguments", ""), str):
        return given
    return {**given, "arguments": arguments_text(given["arguments"])}


def whole_calls(given: Any) -> list[JsonObject]:
    """The tool calls of an answer that is not streamed; what is none is left out."""
    listed = given if isinstance(given, list) else [given]
    calls = []
    for each in listed:
        function = each.get("function") if isinstance(each, dict) else None
        if isinstance(function, dict):
            text = arguments_text(function.get("arguments")) or "{}"
            id_, kind = name(each.get("id")) or new_id(), each.get("type") or "function"
            told = {key: value for key, value in each.items() if key != "index"}
            calls.append({**told, "id": id_, "type": kind, "function": {**function, "arguments": text}})
        elif isinstance(each, dict):
            # A tool of another kind than a function.
            calls.append({**each, "id": name(each.get("id")) or new_id(), "type": name(each.get("type")) or "function"})
    return calls
