"""What is kept of users for later sessions: their words alone, once a turn, and only where they say something."""

from typing import Any

import orjson
import pytest

from common.events.chat import ChatReplyCompleted
from common.events.documents import DocumentInput
from llm_stream.retrieval.spoken_memory import MAX_CHARACTERS, to_forget, to_remember

NOON = 1_790_000_000.0


def ended(text: Any = "My daughter is allergic to peanuts.", **other: Any) -> ChatReplyCompleted:
    """A turn in which a user says this, and an assistant something else."""
    kept = {
        "mode": "full",
        "messages": [{"role": "user", "content": text}],
        "answer": [{"role": "assistant", "content": "I will keep that in mind."}],
        "project_id": "shop",
    }
    fields = {
        "request_id": "chatcmpl-1",
        "org_id": "o",
        "key_id": "k",
        "user_id": "ada",
        "session_id": "monday",
        "model": "m",
        "stream": True,
        "received_at": NOON,
        "started_at": NOON,
        "finished_at": NOON,
        "kept": kept,
    }
    return ChatReplyCompleted.model_validate({**fields, **other})


def remembered(end: ChatReplyCompleted) -> DocumentInput:
    """The document of a turn, as its job gets it."""
    record = to_remember(end)
    assert record is not None
    return DocumentInput.model_validate(orjson.loads(record.value)["input"])


def test_the_words_of_a_user_are_a_document_of_that_user() -> None:
    document = remembered(ended())
    assert document.text == "The user said on 2026-09-21: My daughter is allergic to peanuts."
    assert (document.collection, document.user_id, document.project_id) == ("memory", "ada", "shop")
    assert document.metadata == {"session": "monday", "turn": "chatcmpl-1", "said_at": NOON}


def test_a_turn_that_is_told_twice_is_remembered_once() -> None:
    first, again = (to_remember(ended()) for _ in range(2))
    assert first is not None
    assert again is not None
    assert orjson.loads(first.value)["job_id"] == orjson.loads(again.value)["job_id"]
    assert remembered(ended()).document_id == remembered(ended()).document_id
    assert remembered(ended()).document_id != remembered(ended(user_id="bob")).document_id


@pytest.mark.parametrize(
    "end",
    [
        ended("Yes, please."),
        ended(""),
        ended([{"type": "image_url", "image_url": {"url": "http://x"}}]),
        ended(user_id=None),
        ended(kept={"mode": "metadata"}),
        ended(kept=None),
    ],
)
def test_what_says_nothing_or_is_not_kept_is_not_remembered(end: ChatReplyCompleted) -> None:
    assert to_remember(end) is None


def test_a_long_speech_has_an_end() -> None:
    assert len(remembered(ended("peanuts and walnuts " * 1000)).text or "") < MAX_CHARACTERS + 100


def test_a_session_is_forgotten_as_a_whole_or_by_turn() -> None:
    wanted = orjson.loads(to_forget("o", "monday", "chatcmpl-1", NOON).value)
    assert (wanted["org_id"], wanted["session_id"], wanted["turn_id"]) == ("o", "monday", "chatcmpl-1")
    assert orjson.loads(to_forget("o", "monday", None, NOON).value).get("turn_id") is None
