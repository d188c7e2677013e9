"""The indexes of streamed tool calls: clients put a call's pieces together by them, and some servers omit them."""

from typing import Any

from llm_stream.upstream.values import JsonObject, position


class _OfChoice:
    """The calls of one choice, in the order in which they began."""

    def __init__(self) -> None:
        self.by_id: dict[str, int] = {}
        self.by_theirs: dict[int, int] = {}
        self.begun = 0
        self.last = 0

    def begin(self, theirs: int | None) -> int:
        """The index of a call that begins: theirs, unless that is taken."""
        taken = theirs is None or theirs in self.by_theirs or theirs < self.begun
        index = self.begun if taken or theirs is None else theirs
        self.begun = index + 1
        return index


class ToolCallIndexes:
    """Gives every piece of a tool call the index of its call, by the index or else the id it came with."""

    def __init__(self) -> None:
        self._choices: dict[int, _OfChoice] = {}

    def read(self, choice: int, pieces: Any) -> list[Any]:
        """The pieces of one delta with their indexes; what is no piece is left out."""
        listed = pieces if isinstance(pieces, list) else [pieces]
        calls = self._choices.setdefault(choice, _OfChoice())
        return [{**each, "index": self._index(calls, each)} for each in listed if isinstance(each, dict)]

    def _index(self, calls: _OfChoice, piece: JsonObject) -> int:
        theirs: int | None = position(piece.get("index"), -1)
        theirs = None if theirs == -1 else theirs
        given = piece.get("id")
        id_ = given if isinstance(given, str) and given else None
        index = self._known(calls, theirs, id_, piece)
        if index is None:
            index = calls.begin(theirs)
        if id_ is not None:
            calls.by_id.setdefault(id_, index)
        if theirs is not None:
            calls.by_theirs[theirs] = index
        calls.last = index
        return index

    @staticmethod
    def _known(calls: _OfChoice, theirs: int | None, id_: str | None, piece: JsonObject) -> int | None:
        """The index of the call that a piece belongs to; None where it begins one.

        A new id with a name begins a call, also under an index that another call has: some servers number none.
        """
        if id_ is not None:
            if id_ in calls.by_id:
                return calls.by_id[id_]
            function = piece.get("function")
            if theirs is None or (isinstance(function, dict) and function.get("name")):
                return None
        if theirs is not None:
            return calls.by_theirs.get(theirs)
        return calls.last if calls.begun else None
