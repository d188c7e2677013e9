"""Sessions: stop what is being said."""

import time
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from common.events.chat import TurnReceipt
from common.events.session_turns import Heard, Spoken
from common.failures import Refused
from gateway.chat.session_views import HeardAtInterruption, note_heard
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.end_user import checked_id
from gateway.http.errors import not_found
from gateway.http.validation import validate

MAX_INTERRUPTION_BYTES = 4096
# Every instance that answers in this session replies within a few milliseconds.
RECEIPT_SECONDS = 1.0


class InterruptionTime(BaseModel):
    """When the user began to speak, in the caller's own clock (milliseconds)."""

    model_config = ConfigDict(extra="ignore", strict=True)

    timestamp: Annotated[float, Field(ge=0, le=1e15)]


class Interruption(BaseModel):
    """Body of `POST /v1/sessions/{session_id}/interrupt`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["user_interruption"]
    time: InterruptionTime
    # What the user had heard by then, where the platform knows it better than we do.
    heard: HeardAtInterruption | None = None


class Interrupted(BaseModel):
    """What an interruption stopped."""

    object: Literal["session.interruption"] = "session.interruption"
    session_id: str
    time: InterruptionTime
    receipts: list[TurnReceipt]
    spoken: Spoken | None = None


async def interrupt(request: web.Request) -> web.Response:
    """`POST /v1/sessions/{session_id}/interrupt`: stop, and answer with the stop receipts."""
    at = time.time()
    deps, caller = request.app[DEPS], request[CALLER]
    session_id = checked_id(request.match_info["session_id"], "session_id")
    body = await read_json(request, max_bytes=MAX_INTERRUPTION_BYTES)
    interruption = validate(Interruption, body)
    heard = interruption.heard and interruption.heard.checked()
    receipts = await deps.streams.interrupt_and_wait(caller.org_id, session_id, interruption.type, at, RECEIPT_SECONDS)
    spoken = heard and await _noted(request, session_id, receipts, heard)
    if not receipts and spoken is None:
        raise not_found("No answer is in progress in this session.", "session_id", "no_answer_in_progress")
    stopped = Interrupted(session_id=session_id, time=interruption.time, receipts=receipts, spoken=spoken)
    return web.json_response(text=stopped.model_dump_json(exclude=None if spoken else {"spoken"}))


async def _noted(request: web.Request, session_id: str, receipts: list[TurnReceipt], heard: Heard) -> Spoken | None:
    """What counts as spoken of the answer that was stopped, or of the last one, which may be heard after its end.

    None where nothing is kept of it. Raises Refused 409 or 503.
    """
    try:
        return await note_heard(request, session_id, receipts[-1].id if receipts else None, heard)
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
