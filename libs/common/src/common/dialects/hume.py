"""Hume EVI's custom language model: the session in the query, prosody with each message, chunks that carry both.

A request for an utterance that goes on replaces the one before it. `system_fingerprint` is how the platform is told the
id of the session.
"""

import re
from typing import Any

from common.dialects.reading import JsonObject, Understood, in_order, named

# How the platform asks for a greeting; the first words of the user may be glued to it.
GREETING = re.compile(r"\s*Speak your greeting to the user\.?\s*", re.IGNORECASE)


def speaks(body: JsonObject) -> bool:
    """Whether a request looks like one of this platform."""
    messages = body.get("messages")
    return isinstance(messages, list) and any(isinstance(each, dict) and "models" in each for each in messages)


def read(body: JsonObject, session_id: str | None) -> Understood:
    """The request, its turns in order; `session_id` is what the URL calls the session."""
    session_id = session_id or named(body.get("custom_session_id"))
    messages = body.get("messages")
    if isinstance(messages, list):
        messages = [_without_greeting(message) for message in messages]
    told = {"session_id": session_id} if session_id else {}
    return Understood({**body, "messages": in_order(messages)}, session_id, newest_wins=True, told=told)


def _without_greeting(message: Any) -> Any:
    """A message without the request for a greeting that its words are glued to; alone it stands."""
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
    if not isinstance(content, str) or (found := GREETING.match(content)) is None or found.end() == len(content):
        return message
    return {**message, "content": content[found.end() :]}


def write(chunk: JsonObject, told: JsonObject) -> JsonObject:
    """A chunk, or a whole answer, as the platform reads it."""
    session_id = told.get("session_id")
    return {**chunk, "system_fingerprint": session_id} if session_id else chunk
