"""What is searched for: the user's last words, with those before them where they do not stand alone."""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
# Words that say nothing of what is asked for: a question of these and a few others continues the one before.
EMPTY_WORDS = _words(
    "a about again all also am an and any are as at be been but by can could did do does else for from had has have he "
    "her here him his how i if in is it its just know like many may me mean more much my no not now of off on one or "
    "our out please same say she should so some tell than that the their them then there these they this those to too "
    "up us was we were what when where which who why will with would yes you your"
)
# What points back at what was said.
POINTING = _words("he her him his it its one she that their them there these they this those")
# So many words of its own make a question whole, unless it points back.
OWN_WORDS = 3
# What points back points at something near: a long question brings along what it is about.
OWN_WORDS_POINTING = 6
# The words above are English. In any language so few words seldom say all.
FEW_WORDS = 5
# The end of what somebody says at length is what they ask.
MAX_QUESTION = 600


def question_of(messages: Sequence[Message]) -> tuple[str, bool]:
    """The question, "" for none, and whether it is whole: else it wants what the user said before these messages."""
    said = _said(messages)
    if not said:
        return "", True
    last = said[-1]
    if stands_alone(last):
        return end_of_speech(last), True
    if len(said) == 1:
        return end_of_speech(last), False
    return end_of_speech(f"{said[-2]}\n{last}"), True


def said_by_user(messages: Sequence[Message]) -> str:
    """All that a user says in these messages."""
    return "\n".join(_said(messages))


def leans_back(messages: Sequence[Message]) -> bool:
    """Whether what the user said last may want what was said before: it points back, or is a few words in whatever
    language."""
    said = _said(messages)
    return bool(said) and (len(WORD.findall(said[-1])) <= FEW_WORDS or not stands_alone(said[-1]))


def stands_alone(text: str) -> bool:
    """Whether a question tells by itself what it is about."""
    words = [word.lower() for word in WORD.findall(text)]
    own = sum(word not in EMPTY_WORDS for word in words)
    return own >= (OWN_WORDS if POINTING.isdisjoint(words) else OWN_WORDS_POINTING)


def words_of(message: Message) -> str:
    """What a message says in words, "" for nothing."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return " ".join(text for text in texts if isinstance(text, str)).strip()


def end_of_speech(text: str) -> str:
    """The text, or its end where it is long."""
    if len(text) <= MAX_QUESTION:
        return text
    cut = text[-MAX_QUESTION:]
    return cut[cut.find(" ") + 1 :]


def _said(messages: Sequence[Message]) -> list[str]:
    return [text for message in messages if message.get("role") == "user" and (text := words_of(message))]
