"""An answer that is planned: the choices, what each of them says in which order, and what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias, TypeVar

from sandbox.openai import tools
from sandbox.openai.text import count_tokens

T = TypeVar("T")
Delta: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: its text in pieces, its tool calls, and why it ends."""

    pieces: list[str]
    calls: list[tools.ToolCall]
    finish: str
    reasoning: Sequence[str] = ()
    refused: bool = False  # the text is a refusal
    logprobs: bool = False  # the text comes with them

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """Completion tokens."""
        return len(self.reasoning) + len(self.pieces) + sum(count_tokens(call.arguments) + 1 for call in self.calls)


@dataclass(frozen=True, slots=True)
class Plan:
    """All choices and the prompt's size in tokens."""

    choices: list[Choice]
    prompt_tokens: int

    @property
    def reasoning_tokens(self) -> int:
        """Completion tokens that were no part of the answer."""
        return sum(len(choice.reasoning) for choice in self.choices)

    def usage(self) -> dict[str, Any]:
        """Return the usage object."""
        completion = sum(choice.tokens for choice in self.choices)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens, "audio_tokens": 0},
        }

    def deltas(self, shape: "DeltaShape | None" = None) -> list[tuple[int, Delta]]:
        """Return (choice index, delta) of every chunk in sending order, the choices taking turns."""
        return in_turns([_deltas(choice, shape or OWN_SHAPE) for choice in self.choices])


def call_deltas(index: int, call: tools.ToolCall) -> list[Delta]:
    """Return the deltas of a tool call: identity once, then only arguments."""
    opening = {**call.as_dict(), "function": {"name": call.name, "arguments": ""}}
    rest = [{"function": {"arguments": piece}} for piece in call.argument_pieces()]
    return [{"tool_calls": [{"index": index, **each}]} for each in ({**opening}, *rest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaShape:
    """How a server puts a piece of text, of reasoning, of a refusal, and the call with an index; OpenAI's own way."""

    say: Callable[[str], Delta] = lambda piece: {"content": piece}
    think: Callable[[str], Delta] = lambda piece: {"reasoning_content": piece}
    decline: Callable[[str], Delta] = lambda piece: {"refusal": piece}
    call: Callable[[int, tools.ToolCall], list[Delta]] = call_deltas


OWN_SHAPE = DeltaShape()


def _deltas(choice: Choice, shape: DeltaShape) -> list[Delta]:
    thought = [shape.think(piece) for piece in choice.reasoning]
    said = [shape.decline(piece) if choice.refused else shape.say(piece) for piece in choice.pieces]
    called = [delta for index, call in enumerate(choice.calls) for delta in shape.call(index, call)]
    return [*thought, *said, *called]


def in_turns(lanes: Sequence[Sequence[T]]) -> list[tuple[int, T]]:
    """Return (index, item) of every lane's items, the lanes taking turns."""
    if len(lanes) == 1:
        return [(0, each) for each in lanes[0]]
    numbered = [[(index, each) for each in lane] for index, lane in enumerate(lanes)]
    return [each for row in zip_longest(*numbered) for each in row if each is not None]


def logprobs_of(pieces: Sequence[str]) -> list[dict[str, Any]]:
    """Return an entry for each piece: the stand-in is always as sure of what it says."""
    return [{"token": each, "logprob": -0.25, "bytes": list(each.encode()), "top_logprobs": []} for each in pieces]
