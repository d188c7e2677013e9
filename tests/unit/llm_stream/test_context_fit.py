"""A conversation is cut to its budget at its old end, and to nothing less than makes sense."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_stream.adapters.bpe import BpeTokenizers
from llm_stream.context.exchanges import exchange_starts
from llm_stream.context.fit import Counted, DoesNotFit, Fitted, fit
from llm_stream.context.image_tokens import USUAL
from llm_stream.context.outline import outline
from tests.support.conversations import HISTORIES, History, Message, pairs, reference, reference_tokens

__all__ = ["reference"]

TOKENIZERS = BpeTokenizers()
BESIDE = 3


def counted(messages: Sequence[Message], name: str) -> list[int]:
    count = TOKENIZERS.load(name).count
    found = outline(messages, {}, USUAL)
    return found.tokens([count(text) for text in found.texts])


def instructs(message: Message) -> bool:
    return message["role"] in ("system", "developer")


def must_stay(messages: Sequence[Message]) -> list[int]:
    """The system messages, and all from the last user's message on that divides no pair."""
    divides = {at for call, result in pairs(messages) for at in range(call + 1, result + 1)}
    starts = (at for at, message in enumerate(messages) if message["role"] == "user" and at not in divides)
    begin = max(starts, default=0)
    return [at for at, message in enumerate(messages) if at >= begin or instructs(message)]


@settings(max_examples=150)
@given(history=HISTORIES, share=st.floats(-0.3, 1.2))
def test_what_is_kept_is_whole_within_its_budget_and_as_much_as_there_can_be(
    reference: tiktoken.Encoding, history: History, share: float
) -> None:
    """The budget lies anywhere between what must stay and all there is, or a little beyond either."""
    messages = history.messages()
    different = {id(message): message for message in messages}
    known = {name: reference_tokens(message, reference.encode_ordinary) for name, message in different.items()}
    tokens = [known[id(message)] for message in messages]
    # Counted as the reference does, every single message.
    assert counted(messages, reference.name) == tokens
    stays = must_stay(messages)
    needed = BESIDE + sum(tokens[at] for at in stays)
    budget = needed + int((BESIDE + sum(tokens) - needed) * share)
    if needed > budget:
        with pytest.raises(DoesNotFit) as raised:
            fit(Counted(messages, tokens), BESIDE, budget)
        assert raised.value.needed == needed
        return
    fitted = fit(Counted(messages, tokens), BESIDE, budget)
    check(fitted, messages, tokens, budget)
    assert set(stays) <= set(fitted.kept)


def check(fitted: Fitted, messages: Sequence[Message], tokens: Sequence[int], budget: int) -> None:
    kept = set(fitted.kept)
    assert fitted.messages == [messages[at] for at in sorted(kept)]
    assert fitted.tokens == BESIDE + sum(tokens[at] for at in kept) <= budget
    cut = [at for at in range(len(messages)) if at not in kept]
    assert not any(instructs(messages[at]) for at in cut)
    # The oldest went, and none out of the middle.
    said = [at for at in range(len(messages)) if not instructs(messages[at])]
    assert cut == said[: len(cut)]
    assert all((call in kept) == (result in kept) for call, result in pairs(messages))
    if cut:
        # One exchange more does not fit.
        start = max(start for start in exchange_starts(messages) if start <= cut[-1])
        assert fitted.tokens + sum(tokens[at] for at in cut if at >= start) > budget


CALL = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "r"}
USER = {"role": "user", "content": "u"}
ANSWER = {"role": "assistant", "content": "a"}
SYSTEM = {"role": "system", "content": "s"}


@pytest.mark.parametrize(
    ("messages", "starts"),
    [
        ([USER, ANSWER, USER], [0, 2]),
        ([SYSTEM, ANSWER, USER, ANSWER, USER, USER], [0, 2, 4, 5]),
        ([USER, CALL, RESULT, USER], [0, 3]),
        # A user who speaks while a tool runs.
        ([USER, CALL, USER, RESULT, USER], [0, 4]),
        # An id that is used again names another call.
        ([USER, CALL, RESULT, USER, CALL, RESULT], [0, 3]),
        ([USER, RESULT, USER], [0, 2]),
        ([ANSWER, ANSWER], [0]),
        ([USER, ANSWER], [0]),
    ],
)
def test_a_conversation_is_cut_before_a_user_speaks(messages: list[Message], starts: list[int]) -> None:
    assert exchange_starts(messages) == starts


def test_retrieved_text_has_its_share_of_what_need_not_stay() -> None:
    conversation = Counted([USER, ANSWER, USER, ANSWER, USER], [10, 10, 10, 10, 10])
    passages = Counted([{"role": "system", "content": name} for name in "abcd"], [8, 30, 8, 8])
    fitted = fit(conversation, 0, 50, passages)
    # Of the 40 that are left passages have 20, and history the rest.
    assert fitted.kept_passages == [0, 2]
    assert fitted.messages == [USER, ANSWER, passages.messages[0], passages.messages[2], USER]
    assert fitted.tokens == 46
    # What passages do not need is for history.
    assert fit(conversation, 0, 50, Counted([], [])).kept == [0, 1, 2, 3, 4]


def long_histories(size: int) -> dict[str, list[Message]]:
    calls = [{"id": str(at), "function": {"name": "f", "arguments": "{}"}} for at in range(size)]
    return {
        "users": [USER] * size,
        "system": [SYSTEM] * size,
        "results of one call": [CALL, *[RESULT] * size, USER],
        "pairs within pairs": [{**CALL, "tool_calls": [call]} for call in calls]
        + [{**RESULT, "tool_call_id": str(at)} for at in range(size)]
        + [USER],
        "calls of one message": [{"role": "assistant", "tool_calls": calls}, USER],
        "parts": [{"role": "user", "content": [{"type": "text", "text": "a"}] * size}, USER],
        "images": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}] * size}, USER],
    }


@pytest.mark.parametrize("name", long_histories(1))
def test_the_work_grows_with_the_conversation(name: str) -> None:
    def cost(size: int) -> float:
        messages = long_histories(size)[name]
        found = []
        for _ in range(3):
            began = time.thread_time()
            tokens = outline(messages, {}, USUAL).flat
            fit(Counted(messages, tokens), 0, sum(tokens) - 1 if name != "system" else sum(tokens))
            found.append(time.thread_time() - began)
        return min(found)

    assert cost(16_000) <= 30 * max(cost(2_000), 0.0005)


NAMES = st.sampled_from(
    ["type", "text", "refusal", "image_url", "url", "detail", "id", "function", "name", "arguments"]
)
KINDS = st.sampled_from(["text", "image_url", "refusal", "input_audio"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | KINDS
JSON = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(NAMES, LEAVES | st.dictionaries(NAMES, LEAVES))
MEMBERS = st.sampled_from(["content", "name", "refusal", "tool_calls", "function_call", "tool_call_id", "audio"])
ROLES = st.sampled_from(["developer", "system", "user", "assistant", "tool", "function"])
ANY_MESSAGE = st.builds(
    lambda role, more: {"role": role, **more},
    ROLES,
    st.dictionaries(MEMBERS, JSON | st.lists(st.dictionaries(NAMES, JSON), max_size=3)),
)


@given(messages=st.lists(ANY_MESSAGE, min_size=1, max_size=6))
def test_members_of_any_shape_are_counted_somehow(messages: list[Message]) -> None:
    tokens = counted(messages, "cl100k_base")
    assert len(tokens) == len(messages)
    assert fit(Counted(messages, tokens), 0, sum(tokens)).messages == messages


def parts(*kinds: dict[str, Any]) -> list[Message]:
    return [{"role": "user", "content": list(kinds)}]


def test_what_no_tokenizer_counts_is_said_to_be_estimated() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    address = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    low = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}}
    found = outline(parts(audio, address, low, {"type": "text", "text": "x"}), {"tools": [{"a": "\ud800"}]}, USUAL)
    assert found.flat == [4 + 1000 + 1445 + 85]
    assert found.estimated == [1000 + 1445]
    assert found.texts == ["x", '[{"a":"\ud800"}]']
    assert found.beside([1, 7]) == 7
