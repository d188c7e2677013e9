"""OpenAI's conversations: sessions under the names that its clients give them, with what was said as items."""

import secrets
import time
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from common.dialects.responses import chat_request
from common.events.session_turns import (
    SESSION_DELETE_REQUESTED,
    SESSION_EXTEND_REQUESTED,
    SESSION_REQUESTED,
    SessionDeleteRequested,
    SessionExtendRequested,
    SessionRequested,
    ShownSession,
)
from common.failures import Refused
from gateway.chat.completion_answer import Open
from gateway.chat.conversation_items import items_of
from gateway.chat.response_request import few_short
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.end_user import checked_id
from gateway.http.errors import bad_request, not_found
from gateway.http.fields import Query, Strict
from gateway.http.validation import read_query, validate

# A turn of a session has room for so much, and items are one.
MAX_BODY_BYTES = 256 * 1024
MAX_ITEMS = 20
CONVERSATION_PREFIX = "conv_"

Items = Annotated[list[dict[str, Any]], Field(max_length=MAX_ITEMS, fail_fast=True)]
Metadata = Annotated[dict[str, Any], AfterValidator(few_short)]


class ConversationBody(Strict):
    """What a conversation begins with."""

    items: Items | None = None
    metadata: Metadata | None = None


class MetadataBody(Strict):
    """What is noted of a conversation from now on."""

    metadata: Metadata


class ItemsBody(Strict):
    """What is added to a conversation, without an answer to it."""

    items: Annotated[Items, Field(min_length=1)]


class ItemsQuery(Query):
    """A page of items: behind the item `after`, the newest first unless `order` is `asc`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[str, Field(max_length=200)] | None = None
    # What OpenAI can add to items; there is nothing of it here.
    include: Annotated[str, Field(max_length=200)] | None = None


class Conversation(BaseModel):
    """A conversation. `created_at` is unix seconds."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, Any]


class DeletedConversation(BaseModel):
    """A conversation that is forgotten."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: bool


class ConversationItem(Open):
    """An item of a conversation; what else it has depends on its type."""

    id: str
    type: Literal["message", "function_call", "function_call_output"]
    status: str


class ItemList(BaseModel):
    """Items of a conversation: messages, calls of functions and their outputs."""

    object: Literal["list"] = "list"
    data: list[ConversationItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


async def create_conversation(request: web.Request) -> web.Response:
    """`POST /v1/conversations`."""
    body = validate(ConversationBody, await _body(request))
    id, at = f"{CONVERSATION_PREFIX}{secrets.token_hex(16)}", time.time()
    await _extend(request, id, body.items or [], body.metadata or {}, at, fresh=True)
    return _shown(Conversation(id=id, created_at=int(at), metadata=body.metadata or {}))


async def show_conversation(request: web.Request) -> web.Response:
    """`GET /v1/conversations/{conversation_id}`. Raises Refused 404."""
    return _shown(_conversation(await _session(request)))


async def change_conversation(request: web.Request) -> web.Response:
    """`POST /v1/conversations/{conversation_id}`: its metadata. Raises Refused 404."""
    body = validate(MetadataBody, await _body(request))
    session = await _session(request)
    await _extend(request, session.id, [], body.metadata, time.time())
    return _shown(_conversation(session).model_copy(update={"metadata": body.metadata}))


async def delete_conversation(request: web.Request) -> web.Response:
    """`DELETE /v1/conversations/{conversation_id}`, whether there is one or not."""
    asked = SessionDeleteRequested(org_id=request[CALLER].org_id, session_id=_id(request), at=time.time())
    await request.app[DEPS].request_reply.ask(SESSION_DELETE_REQUESTED, asked)
    return _shown(DeletedConversation(id=asked.session_id, deleted=True))


async def add_items(request: web.Request) -> web.Response:
    """`POST /v1/conversations/{conversation_id}/items`. Raises Refused 404."""
    body = validate(ItemsBody, await _body(request))
    session = await _session(request)
    turn_id = await _extend(request, session.id, body.items, None, time.time())
    added = [turn for turn in (await _session(request)).turns if turn.id == turn_id]
    return _shown(_page([item for turn in added for item in items_of(turn)], more=False))


async def list_items(request: web.Request) -> web.Response:
    """`GET /v1/conversations/{conversation_id}/items`. Raises Refused 400 and 404."""
    query = read_query(request, ItemsQuery)
    items = _all_items(await _session(request))
    if query.order == "desc":
        items.reverse()
    if query.after is not None:
        ids = [item["id"] for item in items]
        if query.after not in ids:
            raise bad_request(f"Invalid 'after': there is no item '{query.after}'.", "after")
        items = items[ids.index(query.after) + 1 :]
    return _shown(_page(items[: query.limit], more=len(items) > query.limit))


async def show_item(request: web.Request) -> web.Response:
    """`GET /v1/conversations/{conversation_id}/items/{item_id}`. Raises Refused 404."""
    id = request.match_info["item_id"]
    found = next((item for item in _all_items(await _session(request)) if item["id"] == id), None)
    if found is None:
        raise not_found(f"Item with id '{id}' not found in this conversation.", "item_id", "item_not_found")
    return web.json_response(found)


def _all_items(session: ShownSession) -> list[dict[str, Any]]:
    return [item for turn in session.turns for item in items_of(turn)]


def _page(items: list[dict[str, Any]], *, more: bool) -> ItemList:
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return ItemList(data=[ConversationItem(**item) for item in items], first_id=first, last_id=last, has_more=more)


def _conversation(session: ShownSession) -> Conversation:
    created = int(session.turns[0].received_at)
    return Conversation(id=session.id, created_at=created, metadata=session.metadata or {})


async def _body(request: web.Request) -> dict[str, Any]:
    if request.app[DEPS].settings.chat_store != "full":
        raise bad_request("Conversations are not kept here: SONANT_CHAT_STORE.", None, "unsupported")
    return await read_json(request, max_bytes=MAX_BODY_BYTES)


async def _extend(
    request: web.Request,
    session_id: str,
    items: list[dict[str, Any]],
    metadata: dict[str, Any] | None,
    at: float,
    *,
    fresh: bool = False,
) -> str:
    """Add items to a session as a turn without an answer; returns its id. Raises Refused 400, 413 or 503."""
    messages = chat_request({"input": items})["messages"] if items else []
    asked = SessionExtendRequested(
        org_id=request[CALLER].org_id,
        session_id=session_id,
        request_id=f"chatcmpl-{secrets.token_hex(16)}",
        messages=tuple(messages),
        metadata=metadata,
        at=at,
        fresh=fresh,
    )
    await request.app[DEPS].request_reply.ask(SESSION_EXTEND_REQUESTED, asked)
    return asked.request_id


async def _session(request: web.Request) -> ShownSession:
    id = _id(request)
    asked = SessionRequested(org_id=request[CALLER].org_id, session_id=id)
    try:
        return (await request.app[DEPS].request_reply.ask(SESSION_REQUESTED, asked)).body
    except Refused as refused:
        if refused.status != 404:
            raise
        raise not_found(
            f"Conversation with id '{id}' not found.", "conversation_id", "conversation_not_found"
        ) from None


def _id(request: web.Request) -> str:
    return checked_id(request.match_info["conversation_id"], "conversation_id")


def _shown(body: BaseModel) -> web.Response:
    return web.json_response(text=body.model_dump_json())
