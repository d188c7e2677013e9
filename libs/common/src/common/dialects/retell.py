"""Retell's events, as bridges from its socket send them: a transcript, what is wanted, and the number of the response.

A bridge that sends `messages` beside the event is taken at its word. Otherwise they are made of the transcript. Each
chunk carries the `response_id`, by which the platform tells an answer that came too late.
"""

from typing import Any

from common.dialects.reading import JsonObject, Understood, in_order, member, named
from common.failures import Refused

# What the platform wants an answer to; an update wants none.
ANSWERED = frozenset({None, "response_required", "reminder_required"})
# As the platform's own examples tell the model that the line is silent.
REMINDER = "(The user has said nothing for a while. Say what fits.)"
ROLES = {"agent": "assistant", "user": "user"}


def speaks(body: JsonObject) -> bool:
    """Whether a request looks like one of this platform."""
    return "interaction_type" in body or ("transcript" in body and "response_id" in body)


def read(body: JsonObject, session_id: str | None) -> Understood:
    """The request, its turns in order; `session_id` is what the URL calls the session.

    Raises Refused (400) for an event that wants no answer.
    """
    wanted = body.get("interaction_type")
    if not isinstance(wanted, str | None) or wanted not in ANSWERED:
        message = "Invalid 'interaction_type': only 'response_required' and 'reminder_required' are answered."
        raise Refused(400, message, "invalid_value", "interaction_type")
    messages = body.get("messages") or _spoken(body.get("transcript"))
    if wanted == "reminder_required" and isinstance(messages, list):
        messages = [*messages, {"role": "user", "content": REMINDER}]
    number = body.get("response_id")
    return Understood(
        {**body, "messages": in_order(messages)},
        session_id or named(body.get("call_id"), member(body, "call", "call_id")),
        named(member(body, "call", "metadata", "user_id")),
        named(member(body, "call", "metadata", "project_id")),
        newest_wins=True,
        told={"response_id": number} if type(number) is int else {},
    )


def _spoken(transcript: Any) -> Any:
    if not isinstance(transcript, list):
        return transcript
    return [_message(each) if isinstance(each, dict) else each for each in transcript]


def _message(utterance: JsonObject) -> JsonObject:
    role = utterance.get("role")
    return {"role": ROLES.get(role, role) if isinstance(role, str) else role, "content": utterance.get("content")}


def write(chunk: JsonObject, told: JsonObject) -> JsonObject:
    """A chunk, or a whole answer, with the number of the response."""
    return {**chunk, **told}
