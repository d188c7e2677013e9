"""Cuts a conversation to a budget: its instructions and its last exchange stay, the oldest exchanges go first."""

from collections.abc import Sequence
from typing import NamedTuple

from llm_stream.context.exchanges import INSTRUCTING, exchange_starts
from llm_stream.context.outline import Message

# Of what the budget leaves beside what must stay. Passages say more than what was said long ago, and must not drive
# out what was said just now.
RETRIEVED_SHARE = 0.5


class Counted(NamedTuple):
    """Messages with the tokens of each."""

    messages: Sequence[Message]
    tokens: Sequence[int]


NOTHING = Counted((), ())


class Fitted(NamedTuple):
    """What is kept, in its order; `tokens` are those of all of it, and of what stands beside the messages."""

    messages: list[Message]
    tokens: int
    # Positions in the conversation, and among the passages.
    kept: list[int]
    kept_passages: list[int]


class DoesNotFit(Exception):
    """What must stay takes more than the budget: `needed` tokens."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} tokens must stay")
        self.needed = needed


def fit(
    conversation: Counted, beside: int, budget: int, passages: Counted = NOTHING, share: float = RETRIEVED_SHARE
) -> Fitted:
    """The conversation within `budget` tokens, of which `beside` are taken already. Raises DoesNotFit.

    System messages stay wherever they stand. `passages` are messages with retrieved text, the best first. They stand
    before the last exchange and have `share` of what need not stay; history has the rest.
    """
    messages, tokens = conversation
    starts = exchange_starts(messages)
    instructs = [message.get("role") in INSTRUCTING for message in messages]
    left = budget - beside - sum(count for count, stays in zip(tokens, instructs, strict=True) if stays)
    said = [0 if stays else count for count, stays in zip(tokens, instructs, strict=True)]
    last = starts[-1]
    left -= sum(said[last:])
    if left < 0:
        raise DoesNotFit(budget - left)
    found = _within(passages.tokens, int(left * share))
    left -= sum(passages.tokens[at] for at in found)
    begin = last
    for start in reversed(starts[:-1]):
        left -= sum(said[start:begin])
        if left < 0:
            left += sum(said[start:begin])
            break
        begin = start
    kept = [at for at, stays in enumerate(instructs) if stays or at >= begin]
    before = [messages[at] for at in kept if at < last]
    retrieved = [passages.messages[at] for at in found]
    return Fitted([*before, *retrieved, *(messages[last:])], budget - left, kept, found)


def _within(tokens: Sequence[int], share: int) -> list[int]:
    """The passages that the share has room for, in their order; one that is too long makes room for the next."""
    found = []
    for at, count in enumerate(tokens):
        if count <= share:
            share -= count
            found.append(at)
    return found
