"""Reading requests of voice platforms and of the Responses API: as the chat request that each of them means."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from common.dialects.dialect_table import AUTO, DIALECTS, Dialect, detected
from common.dialects.prosody import last_scores, utterances
from common.dialects.reading import JsonObject, Understood
from common.dialects.responses import chat_request, told_of
from common.events.chat import AnswerDialect
from gateway.chat.accepted_request import Read, Reading
from gateway.chat.response_request import ResponseRequest
from gateway.deps import DEPS
from gateway.http.errors import bad_request, not_found
from gateway.http.validation import validate

PROSODY_HEADER = "x-sonant-prosody"
INCLUDE, OMIT = "include", "omit"
RESPONSES = "responses"


def named_dialect(request: web.Request) -> Dialect | None:
    """The dialect in the path; None where it is to be detected. Raises Refused 404."""
    name = request.match_info["dialect"]
    if name == AUTO:
        return None
    if name not in DIALECTS:
        known = ", ".join((*DIALECTS, AUTO))
        raise not_found(f"The dialect '{name}' does not exist; there are {known}.", "dialect", "dialect_not_found")
    return DIALECTS[name]


def chat_reader(named: Dialect | None) -> Read:
    """Reads chat requests of a platform; of the one they look like where none is named."""

    def read(request: web.Request, body: JsonObject) -> Reading:
        dialect = named or detected(body)
        understood = dialect.read(body, request.query.get("custom_session_id"))
        return _reading(request, understood, dialect, dialect.name, understood.told)

    return read


def response_reader(named: Dialect | None) -> Read:
    """Reads requests for a response, with the fields that a platform adds; raises Refused 400."""

    def read(request: web.Request, body: JsonObject) -> Reading:
        items, most = body.get("input"), request.app[DEPS].settings.max_messages
        if isinstance(items, list) and len(items) > most:
            message = f"Too many items: {len(items)}, at most {most} are accepted."
            raise bad_request(message, "input", "too_many_messages")
        asked = validate(ResponseRequest, body)
        added = asked.model_extra or {}
        dialect = named or detected(added)
        understood = dialect.read({**added, **chat_request(body)}, request.query.get("custom_session_id"))
        return _reading(request, understood, dialect, RESPONSES, told_of(body))

    return read


def _reading(request: web.Request, understood: Understood, dialect: Dialect, written: str, told: JsonObject) -> Reading:
    """What was understood, with the prosody of its messages; the answer is `written` in one dialect or another."""
    messages = understood.body.get("messages")
    spoken: Sequence[Any] = messages if isinstance(messages, list) else ()
    if _wants_scores(request, dialect) and (scores := last_scores(spoken)):
        told = {**told, "scores": scores}
    return Reading(
        understood.body,
        understood.session_id,
        understood.user_id,
        understood.project_id,
        understood.newest_wins,
        AnswerDialect(name=written, told=told),
        utterances(spoken) or None,
    )


def _wants_scores(request: web.Request, dialect: Dialect) -> bool:
    given = request.headers.get(PROSODY_HEADER)
    if given not in (None, INCLUDE, OMIT):
        raise bad_request(f"Invalid '{PROSODY_HEADER}': '{INCLUDE}' or '{OMIT}'.", PROSODY_HEADER, "invalid_value")
    return dialect.prosody if given is None else given == INCLUDE
