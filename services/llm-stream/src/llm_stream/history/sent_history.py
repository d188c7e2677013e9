"""What a request's own messages tell: whether they hold the conversation already, what is new, and what was heard."""

from collections.abc import Sequence

from common.events.session_turns import SessionTurn
from llm_stream.context.exchanges import INSTRUCTING
from llm_stream.history.spoken_text import Message, delivered_text, matching, spoken_text, text_of

# How many of the last turns a request is compared with: what was heard of an answer shows in the request behind it.
LOOKED_AT = 3


def talk(messages: Sequence[Message]) -> list[Message]:
    """The messages without instructions."""
    return [message for message in messages if message.get("role") not in INSTRUCTING]


def holds_history(messages: Sequence[Message], line: Sequence[SessionTurn]) -> bool:
    """Whether the caller keeps the history itself and sends all of it: nothing may be put in front then.

    It does where an assistant speaks in it, and where it begins as the session did and goes on. Calls of the last
    answer that are sent again with their results are no history.
    """
    said = talk(messages)
    if repeats_calls(said, line):
        said = said[1:]
    if any(message.get("role") == "assistant" for message in said):
        return True
    begun = next((message for turn in line for message in turn.messages if message.get("role") == "user"), None)
    return len(said) > 1 and begun is not None and _same(said[0], begun)


def repeats_calls(said: Sequence[Message], line: Sequence[SessionTurn]) -> bool:
    """Whether the first message is the last answer of the session, with its calls."""
    if not said or not line or not line[-1].answer:
        return False
    calls = _calls(said[0])
    return bool(calls) and calls == _calls(line[-1].answer[-1])


def _calls(message: Message) -> list[object]:
    calls = message.get("tool_calls") if message.get("role") == "assistant" else None
    return [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def new_messages(messages: Sequence[Message], line: Sequence[SessionTurn]) -> list[Message]:
    """What of a history was not said in the turns before: what follows the assistant's last message.

    All of it where there were none. What users said in turns of which nothing was heard is there again.
    """
    said = talk(messages)
    if not line:
        return said
    at = max((at for at, message in enumerate(said) if message.get("role") == "assistant"), default=-1)
    told = {message.get("tool_call_id") for turn in line for message in turn.answer if message.get("role") == "tool"}
    new = [
        message
        for message in said[at + 1 :]
        if message.get("role") != "tool" or message.get("tool_call_id") not in told
    ]
    unheard: list[Message] = []
    for turn in reversed(line):
        if spoken_text(turn).strip():
            break
        unheard = [*turn.messages, *unheard]
    for count in range(min(len(unheard), len(new) - 1), 0, -1):
        if all(_same(*pair) for pair in zip(unheard[-count:], new, strict=False)):
            return new[count:]
    return new


def heard_in(messages: Sequence[Message], line: Sequence[SessionTurn]) -> list[tuple[SessionTurn, int]]:
    """The turns of which a history shows how much was heard, with its characters, where that was not known before."""
    said, found = talk(messages), []
    for at in range(max(0, len(line) - LOOKED_AT), len(line)):
        turn = line[at]
        if turn.spoken_by == "platform" or not delivered_text(turn):
            continue
        heard = _heard(said, turn, line[:at])
        if heard is not None and heard != len(spoken_text(turn)):
            found.append((turn, heard))
    return found


def _heard(said: Sequence[Message], turn: SessionTurn, before: Sequence[SessionTurn]) -> int | None:
    """Where the user's words of the turn stand in the history, and what the assistant says behind them."""
    asked = _asked(turn)
    if asked is None:
        return None
    place = _last_place(said[:-1], asked)
    if place is None:
        return _heard_unasked(said, turn, before)
    following = said[place + 1]
    if following.get("role") == "assistant":
        return None if following.get("tool_calls") else matching(delivered_text(turn), text_of(following))
    # What was interrupted and stands nowhere was not heard at all.
    return 0 if following.get("role") == "user" and turn.outcome == "interrupted" else None


def _heard_unasked(said: Sequence[Message], turn: SessionTurn, before: Sequence[SessionTurn]) -> int | None:
    """The same of a turn whose words stand nowhere: the platform has put others in their place, or dropped the turn.

    What stands behind the last turn before it that is there tells. None where no such turn is: the history may begin
    behind this one.
    """
    for earlier in reversed(before):
        asked = _asked(earlier)
        place = None if asked is None else _last_place(said, asked)
        if place is None:
            continue
        answers = [text_of(message) for message in said[place + 1 :] if message.get("role") == "assistant"]
        if answers and spoken_text(earlier).strip():
            answers = answers[1:]
        found = (matching(delivered_text(turn), text) for text in answers if text.strip())
        return next((heard for heard in found if heard), 0 if turn.outcome == "interrupted" else None)
    return None


def _asked(turn: SessionTurn) -> Message | None:
    """What the user said in a turn."""
    return next((message for message in reversed(turn.messages) if message.get("role") == "user"), None)


def _last_place(said: Sequence[Message], asked: Message) -> int | None:
    return next((at for at in range(len(said) - 1, -1, -1) if _same(said[at], asked)), None)


def _same(one: Message, other: Message) -> bool:
    """Whether two messages say the same, whatever a platform has put beside it."""
    if one.get("role") != other.get("role"):
        return False
    first, second = one.get("content"), other.get("content")
    if isinstance(first, str) and isinstance(second, str):
        return first.split() == second.split()
    return first == second and one.get("tool_call_id") == other.get("tool_call_id")
