"""Resuming a stream: what follows the last event a client has, from whichever instance answers."""

import asyncio
import time
from contextlib import ExitStack
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.chat.accepted_request import resume_grace
from gateway.chat.event_stream import write_stream
from gateway.chat.session_use import COMPLETION_ID
from gateway.chat.stored_responses import stored_response
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import bad_request, not_found
from gateway.http.fields import Flag
from gateway.http.validation import read_query

LAST_EVENT_HEADER = "Last-Event-ID"
# How long a resumed answer may stay unheard of: an attach signal, its way, and a retry.
RESUME_SECONDS = 3.0
# The first frame of an answer says that it began; event 0 of a response is the frame behind it, and has number 2.
FRAMES_BEFORE = 2
MAX_EVENTS = 1_000_000_000 - FRAMES_BEFORE


class ResponseQuery(BaseModel):
    """`GET /v1/responses/{id}`: in one piece, or as a stream, behind the event with this number if there is one."""

    model_config = ConfigDict(extra="ignore")

    stream: Flag = False
    starting_after: Annotated[int, Field(ge=0, lt=MAX_EVENTS)] | None = None


async def resume_completion(request: web.Request) -> web.StreamResponse:
    """`GET /v1/chat/completions/{id}/stream`: what follows `Last-Event-ID`, from whichever instance answers."""
    return await _resume(request, request.match_info["id"], _last_event_id(request))


async def resume_response(request: web.Request) -> web.StreamResponse:
    """`GET /v1/responses/{id}?stream=true&starting_after=7`: the same, with the numbers of a response's events.

    Without `stream` it is the response in one piece, where it is kept.
    """
    query = read_query(request, ResponseQuery)
    if not query.stream:
        return await stored_response(request)
    request_id = "chatcmpl-" + request.match_info["id"].removeprefix("resp_")
    if LAST_EVENT_HEADER in request.headers or query.starting_after is None:
        return await _resume(request, request_id, _last_event_id(request))
    return await _resume(request, request_id, query.starting_after + FRAMES_BEFORE)


async def _resume(request: web.Request, request_id: str, after: int) -> web.StreamResponse:
    deps, caller = request.app[DEPS], request[CALLER]
    grace = resume_grace(request, deps.settings.resume_grace)
    missing = not_found(f"No answer '{request.match_info['id']}' is in progress or kept.", "id", "completion_not_found")
    if not COMPLETION_ID.fullmatch(request_id) or deps.streams.foreign(request_id, caller.org_id):
        raise missing
    now = time.time()
    deadline = now + deps.settings.chat_deadline
    slot = await deps.limits.resume(caller, request_id, deps.settings.chat_deadline)
    with ExitStack() as held:
        stream = held.enter_context(
            deps.streams.open(request_id, caller.org_id, request_id, received_at=now, key_id=caller.key_id, after=after)
        )
        try:
            if not await deps.streams.heard(stream, now + RESUME_SECONDS):
                raise missing
            stream.used_tokens = None
            # Its own deadline, not a fresh one; what is over already is read in no time.
            deadline = max(now + RESUME_SECONDS, stream.head.deadline if stream.head else deadline)
            return await write_stream(request, deps, stream, deadline, {})
        except (asyncio.CancelledError, ConnectionError):
            deps.streams.stop(stream, "client_closed", grace=grace)
            raise
        finally:
            if slot:
                deps.settlement.settle(caller, stream, held.pop_all(), reserved=None, deadline=deadline, grace=grace)


def _last_event_id(request: web.Request) -> int:
    given = request.headers.get(LAST_EVENT_HEADER, "0")
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise bad_request(f"Invalid '{LAST_EVENT_HEADER}': the id of an event of this stream.", LAST_EVENT_HEADER)
    return int(given)
