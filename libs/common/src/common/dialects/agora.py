"""Agora's Conversational AI Engine: OpenAI's request with the turn it belongs to, and where each message came from.

Each chunk carries the `turn_id` of the request. Messages have a turn, a time and `metadata`, of which `user` says who
spoke.
"""

from typing import Any

from common.dialects.reading import JsonObject, Understood, in_order, member, named


def speaks(body: JsonObject) -> bool:
    """Whether a request looks like one of this platform."""
    messages = body.get("messages")
    return "turn_id" in body or (
        isinstance(messages, list) and any(isinstance(each, dict) and "turn_id" in each for each in messages)
    )


def read(body: JsonObject, session_id: str | None) -> Understood:
    """The request, its turns in order; `session_id` is what the URL calls the session."""
    turn = body.get("turn_id")
    return Understood(
        {**body, "messages": in_order(body.get("messages"))},
        session_id or named(member(body, "context", "channel"), member(body, "context", "session_id")),
        named(member(body, "context", "user_id"), _speaker(body.get("messages"))),
        named(member(body, "context", "project_id")),
        newest_wins=True,
        told={"turn_id": turn} if type(turn) is int or (isinstance(turn, str) and len(turn) <= 200) else {},
    )


def _speaker(messages: Any) -> str | None:
    """Who spoke last, where the platform says so."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    return named(member(last, "metadata", "user"))


def write(chunk: JsonObject, told: JsonObject) -> JsonObject:
    """A chunk, or a whole answer, with the turn it belongs to."""
    return {**chunk, **told}
