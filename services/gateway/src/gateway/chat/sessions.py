"""Sessions: stop what is being said."""

import time
import uuid
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from common.events.chat import StopReceipts, TurnReceipt
from gateway.chat.request import checked_id
from gateway.deps import DEPS
from gateway.http.errors import not_found
from gateway.http.middleware import read_json, validate
from gateway.ports import CALLER

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


class Interrupted(BaseModel):
    """What an interruption stopped."""

    object: Literal["session.interruption"] = "session.interruption"
    session_id: str
    time: dict[str, Any]
    receipts: list[TurnReceipt]


async def interrupt(request: web.Request) -> web.Response:
    """`POST /v1/sessions/{session_id}/interrupt`: stop, and answer with the stop receipts."""
    at = time.time()
    deps, caller = request.app[DEPS], request[CALLER]
    session_id = checked_id(request.match_info["session_id"], "session_id")
    body = await read_json(request, max_bytes=MAX_INTERRUPTION_BYTES)
    asked = validate(Interruption, body)
    ask_id = f"ask-{uuid.uuid4().hex}"
    with deps.streams.reader.waiting(ask_id) as waiter:
        await deps.streams.interrupt(caller.org_id, session_id, asked.type, at, ask_id=ask_id)
        frames = await waiter.frames(RECEIPT_SECONDS)
    bodies = [StopReceipts.model_validate(orjson.loads(frame.payload)["body"]) for frame in frames]
    receipts = [receipt for body in bodies for receipt in body.receipts]
    if not receipts:
        raise not_found("No answer is in progress in this session.", "session_id", "no_answer_in_progress")
    stopped = Interrupted(session_id=session_id, time={"timestamp": asked.time.timestamp}, receipts=receipts)
    return web.json_response(text=stopped.model_dump_json())
