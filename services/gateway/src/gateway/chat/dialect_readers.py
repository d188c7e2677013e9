"""Reading requests of voice platforms and of the Responses API: as the chat request that each of them means."""

from aiohttp import web

from common.dialects.dialect_table import AUTO, DIALECTS, OPENAI, Dialect, detected, understand
from common.dialects.prosody import utterances
from common.dialects.reading import JsonObject, Understood
from common.dialects.responses import chat_request, told_of
from common.events.chat import AnswerDialect
from gateway.chat.accepted_request import Read, Reading
from gateway.chat.response_request import ResponseRequest
from gateway.chat.session_use import conversation_of, response_use
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
        understood = _understood(request, dialect, body)
        return _reading(understood, AnswerDialect(name=dialect.name, told=understood.told))

    return read


def response_reader(named: Dialect | None) -> Read:
    """Reads requests for a response, with the fields that a platform adds; raises Refused 400."""

    def read(request: web.Request, body: JsonObject) -> Reading:
        items, most = body.get("input"), request.app[DEPS].settings.max_messages
        if isinstance(items, list) and len(items) > most:
            message = f"Too many items: {len(items)}, at most {most} are accepted."
            raise bad_request(message, "input", "too_many_messages")
        added = validate(ResponseRequest, body).model_extra or {}
        dialect = named or detected(added)
        use = response_use(body, request.app[DEPS].settings, platform=dialect is not OPENAI)
        conversation = None if use is None else conversation_of(body)
        if use is not None:
            body = {**body, "previous_response_id": None, "conversation": None}
        understood = _understood(request, dialect, {**added, **chat_request(body)})
        told = {**understood.told, **told_of(body)}
        reading = _reading(understood, AnswerDialect(name=RESPONSES, told=told))._replace(session=use)
        return reading if conversation is None else _within(reading, conversation)

    return read


def _within(reading: Reading, conversation: str) -> Reading:
    """The request in the session that its conversation is. Raises Refused 400 where its platform names another one."""
    if reading.session_id not in (None, conversation):
        raise bad_request("Invalid 'conversation': the request names another session.", "conversation", "other_session")
    told = {**reading.dialect.told, "conversation": conversation}
    dialect = reading.dialect.model_copy(update={"told": told})
    return reading._replace(session_id=conversation, dialect=dialect)


def _understood(request: web.Request, dialect: Dialect, body: JsonObject) -> Understood:
    """The request as its dialect means it, with the scores that its header or its dialect wants told."""
    wanted = request.headers.get(PROSODY_HEADER)
    if wanted not in (None, INCLUDE, OMIT):
        raise bad_request(f"Invalid '{PROSODY_HEADER}': '{INCLUDE}' or '{OMIT}'.", PROSODY_HEADER, "invalid_value")
    scores = None if wanted is None else wanted == INCLUDE
    return understand(dialect, body, request.query.get("custom_session_id"), scores=scores)


def _reading(understood: Understood, written: AnswerDialect) -> Reading:
    messages = understood.body.get("messages")
    return Reading(
        understood.body,
        understood.session_id,
        understood.user_id,
        understood.project_id,
        understood.newest_wins,
        written,
        (utterances(messages) or None) if isinstance(messages, list) else None,
    )
