"""The text of one choice that waits for the end of its sentence, with what came beside it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from llm_stream.answer.sentences import releasable
from llm_stream.upstream.chunks import Choice
from llm_stream.upstream.values import JsonObject


class Piece(NamedTuple):
    """A piece of text that leaves, the tokens in it, and what came beside it if anything did."""

    text: str
    tokens: int
    beside: Choice | None


class _Companion(NamedTuple):
    """What came beside the held characters from `start` to `end`."""

    start: int
    end: int
    choice: Choice


class HeldText:
    """Text in the order in which it came. Nearly always nothing came beside it, and then it leaves in one piece."""

    def __init__(self) -> None:
        self._text = ""
        self._tokens = 0
        self._companions: list[_Companion] = []

    def add(self, text: str, choice: Choice | None = None) -> None:
        """Hold a delta's text; `choice` where something came beside it, which leaves with the text's beginning."""
        start = len(self._text)
        self._text += text
        self._tokens += 1
        if choice is not None and text:
            self._companions.append(_Companion(start, len(self._text), choice))

    def whole_sentences(self) -> Iterator[Piece]:
        """What may leave now."""
        end = releasable(self._text)
        return self._take(self._between_tokens(end) if self._companions else end)

    def rest(self) -> Iterator[Piece]:
        """Everything."""
        return self._take(len(self._text))

    def _between_tokens(self, end: int) -> int:
        """The last place up to `end` where no token is cut: what is told about a token is told with all of its text.

        The white space behind a sentence is usually the beginning of the next token.
        """
        for start, stop, choice in self._companions:
            if start < end < stop and choice.logprobs is not None:
                return start + _whole_tokens(choice.logprobs, self._text[start:stop], end - start)
        return end

    def _take(self, end: int) -> Iterator[Piece]:
        if not end:
            return
        text, self._text = self._text[:end], self._text[end:]
        tokens = max(1, round(self._tokens * end / (end + len(self._text))))
        self._tokens -= tokens
        if not self._companions:
            yield Piece(text, tokens, None)
            return
        leaving = [each for each in self._companions if each.start < end]
        self._companions = [
            _Companion(each.start - end, each.end - end, each.choice) for each in self._companions if each.start >= end
        ]
        yield from self._accompanied(text, tokens, leaving)

    def _accompanied(self, text: str, tokens: int, leaving: list[_Companion]) -> Iterator[Piece]:
        """Each piece that something came beside by itself, and the plain text between them."""
        at, left = 0, tokens
        for start, end, choice in leaving:
            if start > at:
                yield Piece(text[at:start], 0, None)
            cut = end > len(text)
            if cut:
                # The sentence ends within the delta: what it says about its tokens is divided, the rest goes first.
                before, after = split_logprobs(choice.logprobs, len(text) - start)
                choice = choice._replace(logprobs=before)
                rest = choice._replace(logprobs=after, beside={}, extras={})
                if after:
                    self._companions.insert(0, _Companion(0, end - len(text), rest))
            yield Piece(text[start:end], left, choice)
            at, left = min(end, len(text)), 0
        if at < len(text):
            yield Piece(text[at:], left, None)


def _whole_tokens(logprobs: JsonObject, text: str, limit: int) -> int:
    """How many characters, up to `limit`, the first tokens of a text make up; 0 where they do not make up the text."""
    entries: Any = logprobs.get("content")
    covered = 0
    for entry in entries if isinstance(entries, list) else ():
        token = entry.get("token") if isinstance(entry, dict) else None
        if not isinstance(token, str) or not text.startswith(token, covered):
            return 0
        if covered + len(token) > limit:
            break
        covered += len(token)
    return covered


def split_logprobs(logprobs: JsonObject | None, characters: int) -> tuple[JsonObject | None, JsonObject | None]:
    """The logprobs of the tokens that make up the first characters of a delta, and those of its rest."""
    entries: Any = (logprobs or {}).get("content")
    if logprobs is None or not isinstance(entries, list):
        return logprobs, None
    covered, count = 0, 0
    while count < len(entries) and covered < characters:
        entry = entries[count]
        token = entry.get("token") if isinstance(entry, dict) else None
        covered += len(token) if isinstance(token, str) else 0
        count += 1
    after = {**logprobs, "content": entries[count:]} if count < len(entries) else None
    return {**logprobs, "content": entries[:count]}, after
