"""Prosody: how utterances sounded, read from messages, and the strongest of it in words.

Platforms send a score for each of some names, in `models.prosody.scores` of a message. Nothing is known for certain of
the names, of how many there are, and of whether there are any.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeAlias

from common.dialects.reading import JsonObject, member
from common.events.chat import UtteranceProsody
from common.events.token_estimate import CHARACTERS_PER_TOKEN

Scores: TypeAlias = dict[str, float]

# The platform has 48 names; what is beyond these is dropped.
MAX_SCORES = 128
MAX_NAME = 100
MAX_SCORE = 1e9
MAX_MILLISECONDS = 1e15
# User messages that one turn may bring, all of which may have scores.
MAX_UTTERANCES = 16
# Where a template wants the names and their scores.
PLACE = "{scores}"


def scores_of(message: Any) -> Scores:
    """The scores of a message; empty where it has none. What is no score is left out."""
    given = member(message, "models", "prosody", "scores")
    if not isinstance(given, dict):
        return {}
    scores: Scores = {}
    for name, score in given.items():
        if type(score) in (int, float) and 0 < len(name) <= MAX_NAME and abs(score) <= MAX_SCORE:
            scores[name] = float(score)
            if len(scores) == MAX_SCORES:
                break
    return scores


def last_scores(messages: Sequence[Any]) -> Scores:
    """The newest scores of a conversation; empty where there are none."""
    return next((scores for message in reversed(messages) if (scores := scores_of(message))), {})


def utterances(messages: Sequence[Any]) -> tuple[UtteranceProsody, ...]:
    """How the user sounded in this turn: the messages since the assistant spoke, in their order."""
    newest = list(takewhile(_is_of_user, reversed(messages)))[:MAX_UTTERANCES]
    return tuple(_measured(reversed(newest)))


def _is_of_user(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _measured(messages: Iterator[Any]) -> Iterator[UtteranceProsody]:
    for message in messages:
        if scores := scores_of(message):
            begin, end = (_milliseconds(member(message, "time", name)) for name in ("begin", "end"))
            yield UtteranceProsody(scores=scores, begin_ms=begin, end_ms=end)


def _milliseconds(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and abs(value) <= MAX_MILLISECONDS else None


def summary(scores: Mapping[str, float], template: str, most: int, tokens: int) -> str:
    """The strongest `most` scores in words, in the place of `{scores}`; empty where there is nothing to say.

    The weakest are left out until the text has at most `tokens` by estimate.
    """
    strongest = sorted((item for item in scores.items() if item[1] > 0), key=lambda item: (-item[1], item[0]))[:most]
    while strongest:
        text = template.replace(PLACE, ", ".join(f"{name} {score:.2f}" for name, score in strongest))
        if len(text) <= tokens * CHARACTERS_PER_TOKEN:
            return text
        strongest.pop()
    return ""


def with_summary(messages: Sequence[JsonObject], text: str) -> list[JsonObject]:
    """The messages with a sentence behind what the user said last; as they are where no user has said anything.

    It stands there and not in the instructions: those stay the same from turn to turn, so providers can cache them.
    """
    changed = list(messages)
    for at in range(len(changed) - 1, -1, -1):
        if changed[at].get("role") == "user":
            changed[at] = {**changed[at], "content": _followed(changed[at].get("content"), text)}
            break
    return changed


def _followed(content: Any, text: str) -> Any:
    if isinstance(content, list):
        return [*content, {"type": "text", "text": text}]
    return f"{content}\n\n{text}" if content else text


def write_scores(answer: JsonObject, scores: Any) -> JsonObject:
    """A chunk or a whole answer whose choices carry the scores, as `models.prosody.scores`."""
    models = {"prosody": {"scores": scores}}
    choices = [_with_models(choice, models) for choice in answer.get("choices") or ()]
    return {**answer, "choices": choices}


def _with_models(choice: JsonObject, models: JsonObject) -> JsonObject:
    said = "delta" if "delta" in choice else "message"
    return {**choice, said: {**(choice.get(said) or {}), "models": models}}
