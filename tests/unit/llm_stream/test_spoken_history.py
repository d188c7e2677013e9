"""What the next turn is asked with: only what was spoken, wherever an answer was cut, and nothing twice."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.session_turns import Heard, SessionTurn
from llm_stream.history.sent_history import heard_in, holds_history, new_messages
from llm_stream.history.session_context import context_of, in_line, is_cut
from llm_stream.history.spoken_text import (
    cut_to,
    delivered_text,
    generated,
    heard_characters,
    matching,
    spoken_text,
    was_cut_off,
    whole_words,
)
from llm_stream.tools.pairs import closed

MARK = "(cut)"
TEXTS = st.text(alphabet=string.ascii_letters + " .,!?\n\U0001f600é", max_size=60)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(*ids: str, text: str | None = None) -> dict[str, Any]:
    made = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    return {"role": "assistant", "content": text, "tool_calls": made}


def result(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "found"}


def turn(number: int, asked: str, *answer: dict[str, Any], **fields: Any) -> SessionTurn:
    told = {
        "id": f"t{number}",
        "session_id": "s",
        "outcome": "completed",
        "kept": "full",
        "model": "m",
        "stream": True,
        "received_at": float(number),
        "finished_at": number + 0.5,
        "messages": (user(asked),),
        "answer": answer,
        **fields,
    }
    return SessionTurn(**told)


@st.composite
def answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The messages of one answer: rounds of calls with their results, and the end."""
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 3))):
        ids = [f"c{number}-{at}" for at in range(draw(st.integers(1, 3)))]
        found += [calls(*ids, text=draw(TEXTS) or None), *map(result, ids)]
    return [*found, assistant(draw(TEXTS))]


@st.composite
def sessions(draw: st.DrawFn) -> list[SessionTurn]:
    """Turns that were cut anywhere: on their way, in the ear, or not at all."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        answer = draw(answers())
        said = len(generated(answer))
        delivered = draw(st.none() | st.integers(0, said))
        spoken = draw(st.none() | st.integers(0, said))
        outcome = "completed" if delivered is None else "interrupted"
        fields = {"delivered": delivered, "spoken": spoken, "outcome": outcome}
        found.append(turn(number, f"question {number}", *answer, **fields))
    return found


def is_paired(messages: list[dict[str, Any]]) -> bool:
    return closed(messages) == messages


@given(sessions())
def test_only_spoken_words_reach_the_next_turn_and_every_pair_is_whole(turns: list[SessionTurn]) -> None:
    told = context_of(in_line(turns), MARK, [user("next")])
    assert is_paired(told)
    said = [message["content"] or "" for message in told if message["role"] == "assistant"]
    spoken = [spoken_text(each) for each in turns]
    assert "".join("".join(said).split()) == "".join("".join(spoken).split())
    for each in turns:
        assert delivered_text(each).startswith(spoken_text(each))
        assert generated(each.answer).startswith(delivered_text(each))
    # Every question is there, with the mark exactly behind what was cut off.
    asked = [message["content"] for message in told if message["role"] == "user"]
    assert len(asked) == len(turns)
    for before, words in zip(turns, asked[1:], strict=False):
        assert words.startswith(MARK) == was_cut_off(before)


@given(answers(), st.data())
def test_what_is_cut_and_what_is_left_make_up_the_whole(answer: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = generated(answer)
    characters = data.draw(st.integers(0, len(whole) + 3))
    kept = cut_to(answer, characters)
    assert generated(kept).strip() == whole[:characters].strip() or not whole[:characters].strip()
    assert [message for message in kept if message["role"] == "tool"] == [m for m in answer if m["role"] == "tool"]
    assert is_paired(kept)


@given(TEXTS, st.data())
def test_whatever_is_heard_of_a_text_is_found_in_it(text: str, data: st.DataObject) -> None:
    heard = text[: data.draw(st.integers(0, len(text)))]
    found = matching(text, heard)
    assert found is not None
    assert text[:found] == heard.rstrip()
    # Nor does it matter how a platform writes it.
    written = " ".join(heard.upper().replace(",", "").split())
    again = matching(text, written)
    assert again is None or again <= len(text)
    assert 0 <= whole_words(text, data.draw(st.integers(0, 80))) <= len(text)


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        ("", 0),
        ("Well", 4),
        ("well , i", 7),
        ("Well, I thi", 11),
        ("well i thi", 7),
        ("WELL I THINK SO", 17),
        ("Well, I think so. And", 21),
        ("Well, I think so. And more", None),
        ("I think", None),
        ("…", 0),
    ],
)
def test_platforms_write_as_they_like(heard: str, found: int | None) -> None:
    assert matching("Well, I think so. And", heard) == found


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        ({"characters": 99}, 18),
        ({"characters": 5}, 5),
        ({"audio_ms": 0.0, "of_ms": 9.0}, 0),
        ({"audio_ms": 9.0, "of_ms": 9.0}, 18),
        ({"audio_ms": 10.0, "of_ms": 9.0}, 18),
        ({"audio_ms": 50.0, "of_ms": 100.0}, 7),
        ({"audio_ms": 500.0}, 7),
        ({"audio_ms": 60_000.0}, 18),
        ({}, None),
    ],
)
def test_a_share_of_the_speech_is_a_share_of_the_words(heard: dict[str, Any], found: int | None) -> None:
    assert heard_characters("one two three four", Heard(**heard)) == found


def test_a_language_without_spaces_is_cut_at_a_character() -> None:
    assert whole_words("今日はいい天気です", 4) == 4


def test_words_said_anew_are_told_once() -> None:
    cut = turn(1, "I want", assistant("What"), outcome="interrupted", delivered=0)
    again = [user("I want a pizza")]
    assert context_of([cut], MARK, again) == []
    assert not is_cut([cut], again)
    # What else was said stays, heard or not.
    assert context_of([cut], MARK, [user("Never mind")]) == [user("I want")]
    heard = cut.model_copy(update={"delivered": 4})
    assert context_of([heard], MARK, again) == [user("I want"), assistant("What")]


def test_what_failed_unheard_is_told_to_nobody() -> None:
    failed = turn(1, "Hi", outcome="failed")
    half = turn(2, "Hi", assistant("Hel"), outcome="failed")
    assert context_of([failed], MARK) == []
    assert context_of([half], MARK) == [user("Hi"), assistant("Hel")]


def test_what_is_taken_up_is_one_message() -> None:
    cut = turn(1, "Hi", assistant("one two three"), outcome="interrupted", spoken=8)
    rest = turn(2, "", assistant("three four"), messages=(), continues="t1")
    assert context_of([cut, rest], MARK) == [user("Hi"), assistant("one two three four")]
    assert not is_cut([cut, rest])
    # What of the rest was not heard is not told.
    assert context_of([cut, rest.model_copy(update={"spoken": 5})], MARK)[-1] == assistant("one two three")
    assert is_cut([cut, rest.model_copy(update={"spoken": 0})])


def test_branches_know_nothing_of_one_another() -> None:
    first = turn(1, "a", assistant("A"), previous="")
    second = turn(2, "b", assistant("B"), previous="t1")
    third = turn(3, "c", assistant("C"), previous="t1")
    plain = turn(4, "d", assistant("D"))
    turns = [first, second, third, plain]
    assert [each.id for each in in_line(turns, "t2")] == ["t1", "t2"]
    assert [each.id for each in in_line(turns, "t3")] == ["t1", "t3"]
    assert [each.id for each in in_line(turns)] == ["t1", "t3", "t4"]
    assert in_line(turns, "t9") == []
    # A turn that follows a later one, or itself, leads nowhere.
    assert [each.id for each in in_line([turn(1, "a", previous="t1"), turn(2, "b", previous="t3")], "t2")] == ["t2"]


LINE = [turn(1, "Hi", assistant("Hello")), turn(2, "And?", calls("c1"))]


@pytest.mark.parametrize(
    ("messages", "holds"),
    [
        ([user("New")], False),
        ([user("New"), user("Newer")], False),
        ([user("Hi")], False),
        ([user("Hi"), user("New")], True),
        ([user("Hi"), assistant("Hello"), user("New")], True),
        ([assistant("Hello"), user("New")], True),
        ([{"role": "system", "content": "Be brief."}, user("New")], False),
        ([result("c1")], False),
        ([calls("c1"), result("c1")], False),
        ([calls("c2"), result("c2")], True),
        ([user("x"), calls("c1"), result("c1")], True),
    ],
)
def test_a_whole_history_is_told_from_a_new_message(messages: list[dict[str, Any]], holds: bool) -> None:
    assert holds_history(messages, LINE) is holds


@given(sessions())
def test_a_history_that_is_sent_is_new_in_its_end_alone(turns: list[SessionTurn]) -> None:
    told = closed(context_of(in_line(turns), "", [user("next")]))
    new = new_messages([*told, user("next")], in_line(turns))
    assert new[-1] == user("next")
    assert new == [user("next")]
    assert new_messages([*told, user("next")], []) == [*told, user("next")]


@given(TEXTS.filter(lambda text: bool(text.strip())), st.data())
def test_what_was_heard_shows_in_the_history_of_the_next_request(text: str, data: st.DataObject) -> None:
    line = [turn(1, "Hi", assistant(text)), turn(2, "More", assistant("whole"))]
    heard = text[: data.draw(st.integers(1, len(text)))]
    if not heard.strip():
        return
    found = heard_in([user("Hi"), assistant(heard), user("More"), assistant("whole"), user("next")], line)
    assert [(each.id, text[:characters]) for each, characters in found] in (
        [],
        [("t1", heard.rstrip())],
    )
    assert (found == []) == (len(heard.rstrip()) == len(text))


def test_what_stands_in_no_history_was_not_heard() -> None:
    cut = turn(1, "Hi", assistant("Hello"), outcome="interrupted", delivered=3)
    assert [(each.id, heard) for each, heard in heard_in([user("Hi"), user("next")], [cut])] == [("t1", 0)]
    whole = turn(1, "Hi", assistant("Hello"))
    assert heard_in([user("Hi"), user("next")], [whole]) == []
    # The platform has said so itself.
    told = cut.model_copy(update={"spoken": 1, "spoken_by": "platform"})
    assert heard_in([user("Hi"), user("next")], [told]) == []


def test_a_turn_that_a_history_leaves_out_was_not_heard() -> None:
    """The user went on, and the platform has put the whole utterance in the place of its beginning."""
    before = turn(1, "hello", assistant("Hello there."))
    early = turn(2, "what is", assistant("That depends on what"), outcome="interrupted")
    line = [before, early]
    sent = [user("hello"), assistant("Hello there."), user("what is the time"), assistant("Five."), user("thanks")]
    assert heard_in(sent, line) == [(early, 0)]
    # Its own words may be written otherwise, and the answer stand behind them all the same.
    rewritten = [user("hello"), assistant("Hello there."), user("What's"), assistant("That depends"), user("thanks")]
    assert heard_in(rewritten, line) == [(early, len("That depends"))]
    # A history that begins behind it tells nothing.
    assert heard_in([user("what is the time"), assistant("Five."), user("thanks")], line) == []
    assert heard_in(sent, [early]) == []
    # What was answered to its end is another matter: the history may have lost it.
    assert heard_in(sent, [before, early.model_copy(update={"outcome": "completed"})]) == []
