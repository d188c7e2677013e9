"""What of a conversation costs tokens: its texts, which a tokenizer counts, and what counts flat.

Framing as OpenAI's cookbook publishes it ("How to count tokens with tiktoken"): three tokens a message, one for its
role, one more for a name, and three with which the answer begins. What OpenAI does not publish (how calls of tools and
their definitions are written for the model) counts as a little more than it is.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson

from common.events.token_estimate import MEDIA_PART_TOKENS
from llm_stream.context.image_tokens import ImagePrices, image_url_of

Message: TypeAlias = dict[str, Any]

MESSAGE_TOKENS = 4
NAME_TOKENS = 1
ANSWER_TOKENS = 3
# The channel, the recipient and the form of its arguments stand around a call.
CALL_TOKENS = 8
# The heads of so many images are read, which takes some 30 ms; those behind them count as the largest there are.
MAX_READ_IMAGES = 5_000
# Texts of the parts or the calls of one message.
MAX_PIECES = 8
TEXT_TYPES = frozenset({"text", "input_text", "output_text", "refusal"})
# What stands beside the messages and is written for the model too, as JSON.
BESIDE = ("tools", "functions", "response_format")


class Outline(NamedTuple):
    """The texts of all messages in their order, those of message `i` up to `ends[i]`; what else it costs is `flat[i]`.

    Last come the texts that stand beside the messages. `estimated` of the flat tokens of a message follow no published
    rule.
    """

    texts: list[str]
    ends: list[int]
    flat: list[int]
    estimated: list[int]

    def tokens(self, counts: Sequence[int]) -> list[int]:
        """The tokens of each message, where `counts` are those of the texts."""
        found, start = [], 0
        for end, flat in zip(self.ends, self.flat, strict=True):
            # Nearly all messages have one text.
            found.append(flat + (counts[start] if end == start + 1 else sum(counts[start:end])))
            start = end
        return found

    def beside(self, counts: Sequence[int]) -> int:
        """The tokens of what stands beside the messages."""
        return sum(counts[self.ends[-1] if self.ends else 0 :])


def outline(messages: Sequence[Message], body: Mapping[str, Any], prices: ImagePrices) -> Outline:
    """What is to be counted of the messages, and of what `body` says beside them."""
    found = Outline([], [], [], [])
    texts, images = found.texts, _Images(prices)
    for message in messages:
        content = message.get("content")
        flat = estimated = 0
        if type(content) is str:
            texts.append(content)
        elif type(content) is list:
            flat, estimated = _take_parts(content, texts, images)
        if says_more(message):
            more, guessed = _take_members(message, texts)
            flat, estimated = flat + more, estimated + guessed
        found.ends.append(len(texts))
        found.flat.append(MESSAGE_TOKENS + flat)
        found.estimated.append(estimated)
    texts.extend(_as_json(body[name]) for name in BESIDE if body.get(name))
    return found


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # Halves of characters, and numbers of more than 64 bits.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def says_more(message: Message) -> bool:
    """Whether a message may have more than a role and a content."""
    return len(message) > 2 or "content" not in message


class _Images:
    """Counts the images of a request."""

    def __init__(self, prices: ImagePrices) -> None:
        self._prices = prices
        self._largest, _ = prices.tokens("", "auto")
        self._read = 0

    def tokens(self, part: Mapping[str, Any]) -> tuple[int, bool]:
        """The tokens of an image, and whether its size is known."""
        if self._read >= MAX_READ_IMAGES:
            return self._largest, False
        self._read += 1
        return self._prices.tokens(*image_url_of(part))


def _take_parts(content: Sequence[Any], texts: list[str], images: _Images) -> tuple[int, int]:
    """Add the texts of the parts; returns the flat tokens of the others, and how many of these are estimated."""
    # A body may hold many, and nearly all are such.
    said = [part["text"] for part in content if type(part) is dict and type(part.get("text")) is str]
    flat = estimated = 0
    if len(said) < len(content):
        for part in content:
            tokens, known = _other_part(part, said, images)
            flat += tokens
            estimated += 0 if known else tokens
    _add(texts, said)
    return flat, estimated


def _add(texts: list[str], pieces: list[str]) -> None:
    """Few pieces are counted one by one; many as one text, so that what a message may cost here is bounded."""
    texts += pieces if len(pieces) <= MAX_PIECES else ["\n".join(pieces)]


def _other_part(part: Any, said: list[str], images: _Images) -> tuple[int, bool]:
    """The tokens of a part that is no text, and whether they follow a published rule."""
    if type(part) is not dict or type(part.get("text")) is str:
        said.extend([part] if type(part) is str else [])
        return 0, True
    kind = part.get("type")
    if kind is None or (type(kind) is str and kind in TEXT_TYPES):
        said.extend([refusal] if type(refusal := part.get("refusal")) is str else [])
        return 0, True
    if kind in ("image_url", "input_image"):
        return images.tokens(part)
    return MEDIA_PART_TOKENS, False


def _take_members(message: Message, texts: list[str]) -> tuple[int, int]:
    """The same for what a message has beside its content."""
    flat = estimated = 0
    for name in ("name", "refusal"):
        if type(said := message.get(name)) is str and said:
            texts.append(said)
            flat += NAME_TOKENS if name == "name" else 0
    if calls := calls_of(message):
        _add(texts, list(_written(calls)))
        estimated += CALL_TOKENS * len(calls)
    if message.get("audio"):
        # What the assistant said before, by its id.
        estimated += MEDIA_PART_TOKENS
    return flat + estimated, estimated


def calls_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The calls of an assistant's message, the one of the older API among them."""
    given = message.get("tool_calls")
    calls: list[Mapping[str, Any]] = [call for call in given if type(call) is dict] if type(given) is list else []
    if type(legacy := message.get("function_call")) is dict:
        calls.append({"function": legacy})
    return calls


def _written(calls: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for call in calls:
        called = call.get("function") or call.get("custom")
        for name in ("name", "arguments", "input"):
            if type(called) is dict and type(said := called.get(name)) is str:
                yield said
