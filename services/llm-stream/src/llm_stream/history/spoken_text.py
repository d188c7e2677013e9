"""The three texts of an answer: what was generated, what was delivered, and what the user has heard of it."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from common.events.session_turns import Heard, SessionTurn

Message: TypeAlias = dict[str, Any]

WORD = re.compile(r"\S+")
# What a platform may write otherwise than the model did: marks around a word, and dashes where it was cut.
AROUND_WORDS = re.compile(r"^\W+|\W+$")
# Speech has about so many characters a second, at 150 words of five letters and a space a minute.
CHARACTERS_A_SECOND = 15.0


def text_of(message: Message) -> str:
    """What an assistant's message says; "" for one that says nothing."""
    content = message.get("content")
    return content if isinstance(content, str) else ""


def generated(answer: Iterable[Message]) -> str:
    """All that a model said in a turn."""
    return "".join(text_of(message) for message in answer if message.get("role") == "assistant")


def delivered_text(turn: SessionTurn) -> str:
    """What of it left towards the client."""
    return generated(turn.answer)[: turn.delivered]


def spoken_text(turn: SessionTurn) -> str:
    """What of it the user has heard, as far as is known: where nobody said, all that was delivered."""
    delivered = delivered_text(turn)
    return delivered if turn.spoken is None else delivered[: turn.spoken]


def was_cut_off(turn: SessionTurn) -> bool:
    """Whether the user has not heard all that there was to say."""
    said = generated(turn.answer)
    return len(spoken_text(turn).rstrip()) < len(said.rstrip()) or (turn.outcome != "completed" and bool(said))


def cut_to(answer: Sequence[Message], characters: int) -> list[Message]:
    """The answer with so many characters of its texts. Calls and results stay, since they were made; an assistant's
    message that says nothing else goes.
    """
    left, found = characters, []
    for message in answer:
        if message.get("role") != "assistant" or not (text := text_of(message)):
            found.append(message)
            continue
        taken, left = text[:left], max(0, left - len(text))
        if taken == text:
            found.append(message)
        elif taken.strip() or message.get("tool_calls"):
            found.append({**message, "content": taken or None})
    return found


def spoken_answer(turn: SessionTurn) -> list[Message]:
    """The messages of a turn's answer as the user heard them."""
    return cut_to(turn.answer, len(spoken_text(turn)))


def heard_characters(delivered: str, heard: Heard) -> int | None:
    """How much of what was delivered the platform says was heard; None where that cannot be told."""
    if heard.text is not None:
        return matching(delivered, heard.text)
    if heard.characters is not None:
        return min(heard.characters, len(delivered))
    if heard.audio_ms is None:
        return None
    if heard.of_ms is None:
        return whole_words(delivered, int(heard.audio_ms / 1000 * CHARACTERS_A_SECOND))
    share = 1.0 if heard.of_ms <= heard.audio_ms else heard.audio_ms / heard.of_ms
    return whole_words(delivered, int(len(delivered) * share))


def whole_words(text: str, characters: int) -> int:
    """Up to where the words are whole in that many characters: half a word was not understood."""
    if characters >= len(text):
        return len(text)
    if text[characters].isspace():
        return len(text[:characters].rstrip())
    cut = max((text.rfind(space, 0, characters) for space in " \n\t"), default=-1)
    # A language without spaces has no such place: the character itself is one.
    return len(text[:cut].rstrip()) if cut >= 0 else (0 if " " in text else characters)


def matching(delivered: str, heard: str) -> int | None:
    """How many characters of `delivered` are what `heard` says; None where it says something else.

    Platforms write white space and punctuation as they like, and may end within a word.
    """
    told = heard.rstrip()
    if delivered.startswith(told):
        return len(told)
    said = [(plain(match.group()), match.end()) for match in WORD.finditer(delivered)]
    said = [each for each in said if each[0]]
    words = [word for word in map(plain, heard.split()) if word]
    if len(words) > len(said):
        return None
    for at, word in enumerate(words):
        if said[at][0] == word:
            continue
        last = at == len(words) - 1
        if not (last and said[at][0].startswith(word)):
            return None
        return said[at - 1][1] if at else 0
    return said[len(words) - 1][1] if words else 0


def plain(word: str) -> str:
    """A word without the marks around it."""
    return AROUND_WORDS.sub("", word).casefold()
