"""Responses that are kept: read again in one piece, and deleted."""

import time
from typing import Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel

from common.dialects.response_writer import ResponseWriter
from common.events.session_turns import SESSION_DELETE_REQUESTED, SessionDeleteRequested, SessionTurn
from common.failures import Refused
from gateway.chat.session_use import COMPLETION_ID, completion_id, kept_turn, response_id
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import not_found


class DeletedResponse(BaseModel):
    """A response that is forgotten."""

    id: str
    object: Literal["response.deleted"]
    deleted: bool


async def stored_response(request: web.Request) -> web.Response:
    """The response as it was answered. Raises Refused 404."""
    turn = await _turn(request)
    return web.Response(body=_written(turn), content_type="application/json")


async def delete_response(request: web.Request) -> web.Response:
    """`DELETE /v1/responses/{id}`: forget it; what follows it in its session no longer knows of it."""
    turn = await _turn(request)
    asked = SessionDeleteRequested(
        org_id=request[CALLER].org_id, session_id=turn.session_id, request_id=turn.id, at=time.time()
    )
    await request.app[DEPS].request_reply.ask(SESSION_DELETE_REQUESTED, asked)
    return web.json_response({"id": response_id(turn.id), "object": "response.deleted", "deleted": True})


async def _turn(request: web.Request) -> SessionTurn:
    id = request.match_info["id"]
    unknown = not_found(f"Response with id '{id}' not found.", "id", "response_not_found")
    wanted = completion_id(id)
    if not COMPLETION_ID.fullmatch(wanted):
        raise unknown
    try:
        return (await kept_turn(request, request_id=wanted)).turn
    except Refused as refused:
        raise unknown if refused.status == 404 else refused from None


def _written(turn: SessionTurn) -> bytes:
    dialect = turn.dialect
    previous = {"previous_response_id": response_id(turn.previous)} if turn.previous else {}
    told = {**({} if dialect is None else dialect.told), "store": True, **previous}
    chat: dict[str, Any] = {**(turn.request or {}), "model": turn.model}
    chat["messages"] = [*turn.instructions, {"role": "user", "content": None}]
    writer = ResponseWriter(turn.id, int(turn.received_at), chat, told)
    if turn.outcome == "completed":
        return writer.whole(orjson.dumps(_completion(turn)))
    response = orjson.loads(writer.whole(orjson.dumps(_completion(turn))))
    if turn.outcome == "interrupted":
        return orjson.dumps({**response, "status": "cancelled"})
    error = None if turn.error is None else {"code": turn.error.code, "message": turn.error.message}
    return orjson.dumps({**response, "status": "failed", "error": error})


def _completion(turn: SessionTurn) -> dict[str, Any]:
    """The answer as a chat completion: what its last message says, behind all that was said before calls."""
    said = [message for message in turn.answer if message.get("role") == "assistant"]
    texts = "".join(str(message.get("content") or "") for message in said)
    last = {name: value for name, value in (said[-1] if said else {}).items() if name != "content"}
    message = {**last, "role": "assistant", "content": texts[: turn.delivered] or None}
    choice = {"index": 0, "message": message, "finish_reason": turn.finish_reason}
    usage = turn.usage.model_dump(exclude={"estimated"})
    return {"model": turn.upstream_model or turn.model, "choices": [choice], "usage": usage}
