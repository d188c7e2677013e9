"""What a request wants of its session: whether it is kept, what stands in front of it, and which turn it follows."""

import re
from typing import Any

from aiohttp import web

from common.dialects.reading import JsonObject
from common.events.chat import SessionUse
from common.events.session_turns import TURN_REQUESTED, TurnFound, TurnRequested
from common.failures import Refused
from gateway.chat.completion_request import ChatRequest
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.end_user import checked_id
from gateway.http.errors import bad_request
from gateway.settings import GatewaySettings

COMPLETION_ID = re.compile(r"chatcmpl-[0-9a-f]{32}")
RESPONSE_PREFIX, COMPLETION_PREFIX = "resp_", "chatcmpl-"


def session_use(body: JsonObject, asked: ChatRequest) -> SessionUse | None:
    """What a chat request says about it; None where it says nothing."""
    store = body.get("store")
    if not isinstance(store, bool) and asked.sonant_history is None:
        return None
    return SessionUse(store=store if isinstance(store, bool) else None, history=asked.sonant_history)


def response_use(body: JsonObject, settings: GatewaySettings, *, platform: bool) -> SessionUse | None:
    """What a request for a response says about it: it is kept unless it says otherwise, as at OpenAI.

    That of a voice platform, which names no earlier one, says so where it wants that. None where nothing is said, and
    where no texts are kept at all. Its input is the whole conversation, unless it follows a response or asks for
    its session.
    """
    if settings.chat_store != "full":
        return None
    store, previous = body.get("store"), body.get("previous_response_id")
    if body.get("conversation"):
        # What is said in it belongs to it, whatever is said of storing.
        return SessionUse(store=True, history="stored")
    if previous:
        return SessionUse(store=store is not False, history="stored", previous=completion_id(previous))
    if platform and not isinstance(store, bool):
        return None
    history = body.get("sonant_history") or (None if store is True else "sent")
    return SessionUse(store=store is not False, history=history)


def conversation_of(body: JsonObject) -> str | None:
    """The conversation that a request for a response names; None where it names none. Raises Refused 400."""
    given = body.get("conversation")
    if not given:
        return None
    if body.get("previous_response_id"):
        message = (
            "Mutually exclusive parameters: only one of 'previous_response_id' and 'conversation' can be provided."
        )
        raise bad_request(message, None, "mutually_exclusive_parameters")
    id = given.get("id") if isinstance(given, dict) else given
    if not isinstance(id, str):
        raise bad_request("Invalid 'conversation': its id, or an object with its 'id'.", "conversation")
    return checked_id(id, "conversation")


def completion_id(id: str) -> str:
    """The id of the turn behind a response."""
    return COMPLETION_PREFIX + id.removeprefix(RESPONSE_PREFIX)


def response_id(id: str) -> str:
    """The id of the response that a turn made."""
    return RESPONSE_PREFIX + id.removeprefix(COMPLETION_PREFIX)


async def kept_turn(request: web.Request, **which: Any) -> TurnFound:
    """One turn of the caller's organisation, by its id or as the last of its session. Raises Refused 404 or 503."""
    asked = TurnRequested(org_id=request[CALLER].org_id, **which)
    return (await request.app[DEPS].request_reply.ask(TURN_REQUESTED, asked)).body


async def session_behind(request: web.Request, previous: str, named: str | None) -> str:
    """The session of the turn that a request follows. Raises Refused 400 for one that is not kept, or is elsewhere."""
    try:
        if not COMPLETION_ID.fullmatch(previous):
            raise _unknown(previous)
        found = await kept_turn(request, request_id=previous)
    except Refused as refused:
        raise _unknown(previous) if refused.status == 404 else refused from None
    if named not in (None, found.turn.session_id):
        message = "Invalid 'previous_response_id': that response is of another session than this request names."
        raise bad_request(message, "previous_response_id", "other_session")
    return found.turn.session_id


def _unknown(previous: str) -> Refused:
    message = f"Previous response with id '{response_id(previous)}' not found."
    return bad_request(message, "previous_response_id", "previous_response_not_found")
