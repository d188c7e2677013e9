"""Resuming a stream: what follows the last event a client has, from whichever instance answers."""

import asyncio
import re
import time
from contextlib import ExitStack

from aiohttp import web

from gateway.chat.accepted_request import resume_grace
from gateway.chat.event_stream import write_stream
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import bad_request, not_found

LAST_EVENT_HEADER = "Last-Event-ID"
COMPLETION_ID = re.compile(r"chatcmpl-[0-9a-f]{32}")
# How long a resumed answer may stay unheard of: an attach signal, its way, and a retry.
RESUME_SECONDS = 3.0


async def resume_completion(request: web.Request) -> web.StreamResponse:
    """`GET /v1/chat/completions/{id}/stream`: what follows `Last-Event-ID`, from whichever instance answers."""
    deps, caller = request.app[DEPS], request[CALLER]
    request_id = request.match_info["id"]
    after, grace = _last_event_id(request), resume_grace(request, deps.settings.resume_grace)
    missing = not_found(f"No answer '{request_id}' is in progress or kept.", "id", "completion_not_found")
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
