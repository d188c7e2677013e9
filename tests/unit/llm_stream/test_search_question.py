"""What is searched for at talk time: the last words of the user, and those before where they point back."""

import pytest

from llm_stream.retrieval.search_question import MAX_QUESTION, leans_back, question_of


def said(*texts: str) -> list[dict[str, object]]:
    """A conversation in which an assistant says something behind each of these texts but the last."""
    messages: list[dict[str, object]] = [{"role": "system", "content": "Be kind to everybody in Lisbon."}]
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "I see."}]
    return messages[:-1]


def test_a_whole_question_is_searched_for_as_it_is() -> None:
    messages = said("My dog is ill.", "How long does a refund of shoes take?")
    assert question_of(messages) == ("How long does a refund of shoes take?", True)


@pytest.mark.parametrize("follow_up", ["And for shoes?", "How long does it take?", "Why is that so expensive there?"])
def test_a_question_that_points_back_brings_along_what_was_said_before(follow_up: str) -> None:
    messages = said("How do I return a jacket?", follow_up)
    assert question_of(messages) == (f"How do I return a jacket?\n{follow_up}", True)


def test_a_question_that_points_at_what_is_not_there_wants_the_past() -> None:
    assert question_of(said("And for shoes?")) == ("And for shoes?", False)


@pytest.mark.parametrize("content", ["", "   ", None, [], [{"type": "image_url", "image_url": {"url": "http://x"}}]])
def test_a_user_who_says_nothing_asks_for_nothing(content: object) -> None:
    assert question_of([{"role": "user", "content": content}]) == ("", True)


def test_the_words_of_parts_are_read() -> None:
    parts = [{"type": "text", "text": "Which warranty has"}, {"type": "text", "text": "the blue kettle?"}]
    assert question_of([{"role": "user", "content": parts}]) == ("Which warranty has the blue kettle?", True)


def test_of_a_long_speech_the_end_is_searched_for() -> None:
    question, _ = question_of(said("word " * 1000 + "which warranty has the kettle?"))
    assert question.endswith("which warranty has the kettle?")
    assert len(question) <= MAX_QUESTION


def test_what_the_assistant_and_the_operator_say_is_not_searched_for() -> None:
    assert question_of([{"role": "system", "content": "Lisbon"}, {"role": "assistant", "content": "Hi"}]) == ("", True)


@pytest.mark.parametrize(
    ("last", "leans"),
    [
        ("And for shoes?", True),
        ("Und was kostet das?", True),
        ("¿Y cuánto tiempo tarda eso?", True),
        ("那个多少钱?", True),
        ("How long does it take until they are here?", True),
        ("Which warranty has the blue kettle in Portugal?", False),
    ],
)
def test_few_words_and_those_that_point_back_lean_on_what_was_said(last: str, leans: bool) -> None:
    assert leans_back(said("How do I return a jacket?", last)) is leans
