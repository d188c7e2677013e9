"""What of a session's turns a model is asked with: what was said and heard, in one line.

A turn follows the one before it, unless it names another one, as a response does with `previous_response_id`. What is
told is the line of turns that leads to the last one.
"""

from collections.abc import Sequence

from common.events.session_turns import SessionTurn
from llm_stream.history.spoken_text import Message, generated, spoken_answer, spoken_text, text_of, was_cut_off


def in_line(turns: Sequence[SessionTurn], last: str | None = None) -> list[SessionTurn]:
    """The turns with texts that lead to the turn `last`, or to the last one there is; the first one first."""
    known = sorted((turn for turn in turns if turn.kept == "full"), key=lambda turn: (turn.received_at, turn.id))
    places = {turn.id: at for at, turn in enumerate(known)}
    at = len(known) - 1 if last is None else places.get(last, -1)
    found = []
    while at >= 0:
        turn = known[at]
        found.append(turn)
        # A turn that follows a later one is none of ours; it could lead in a circle.
        before = at - 1 if turn.previous is None else places.get(turn.previous, -1)
        at = before if before < at else -1
    return found[::-1]


def context_of(line: Sequence[SessionTurn], mark: str, following: Sequence[Message] = ()) -> list[Message]:
    """The messages of these turns, with only what was heard; a user who cut the assistant off is given the mark.

    `following` are the messages of the turn that they are told to. Results of the last calls may be among those: the
    pairs are for the caller to close.
    """
    found: list[Message] = []
    was_cut = False
    for turn, said_next in zip(line, _said_next(line, following), strict=True):
        if is_void(turn, said_next):
            continue
        answer = spoken_answer(turn)
        if turn.continues is not None:
            _continue(found, answer)
        else:
            found += marked(turn.messages, mark) if was_cut else turn.messages
            found += answer
        was_cut = was_cut_off(turn)
    return found


def _said_next(line: Sequence[SessionTurn], following: Sequence[Message]) -> list[Sequence[Message]]:
    return [*(turn.messages for turn in line[1:]), following][: len(line)]


def is_cut(line: Sequence[SessionTurn], following: Sequence[Message] = ()) -> bool:
    """Whether the last of these turns that counts was cut off."""
    pairs = zip(line, _said_next(line, following), strict=True)
    counting = [turn for turn, said_next in pairs if not is_void(turn, said_next)]
    return bool(counting) and was_cut_off(counting[-1])


def is_void(turn: SessionTurn, said_next: Sequence[Message]) -> bool:
    """Whether a turn is as if it had not been: nothing of it was heard, and it failed or was said anew.

    Its caller asks again with the same words, or with more of them. One that was too large to keep is a gap.
    """
    if turn.left_out:
        return True
    if spoken_text(turn).strip() or any(message.get("role") == "tool" for message in turn.answer):
        return False
    if turn.continues is not None:
        # It may be that there was nothing more to say.
        return turn.outcome != "completed" or bool(generated(turn.answer).strip())
    if turn.outcome == "failed":
        return True
    return turn.outcome == "interrupted" and outgrown(turn.messages, said_next)


def outgrown(before: Sequence[Message], after: Sequence[Message]) -> bool:
    """Whether a user says again what was said before, or more of the same utterance."""
    if len(before) != 1 or not after:
        return False
    said, again = (_words(messages[0]) for messages in (before, after))
    return said is not None and again is not None and again[: len(said)] == said


def _words(message: Message) -> list[str] | None:
    text = text_of(message)
    return text.split() if message.get("role") == "user" and text else None


def marked(messages: Sequence[Message], mark: str) -> list[Message]:
    """The messages with the mark before what the user says first; as they are where that is another's turn."""
    if not mark or not messages or messages[0].get("role") != "user":
        return list(messages)
    first, content = messages[0], messages[0].get("content")
    if isinstance(content, str):
        return [{**first, "content": f"{mark}\n\n{content}"}, *messages[1:]]
    if isinstance(content, list):
        return [{**first, "content": [{"type": "text", "text": mark}, *content]}, *messages[1:]]
    return list(messages)


def _continue(found: list[Message], answer: list[Message]) -> None:
    """What goes on from where the assistant was taken to be interrupted is one message with that."""
    if not answer:
        return
    last = found[-1] if found else {}
    plain = last.get("role") == "assistant" and not last.get("tool_calls") and text_of(last)
    if plain and answer[0].get("role") == "assistant":
        found[-1] = {**answer[0], "content": f"{text_of(last)}{text_of(answer[0])}"}
        answer = answer[1:]
    found += answer
