"""Reading a request for an answer: its body and headers, checked before anything is reserved or published."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.chat.completion_request import ChatRequest
from gateway.chat.embedding_request import EmbeddingRequest
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import BODY_BYTES, CALLER
from gateway.http.end_user import any_user, checked_id
from gateway.http.errors import bad_request
from gateway.http.large_bodies import BodyPlace, step
from gateway.http.validation import validate
from gateway.ports import Caller
from gateway.settings import GatewaySettings

SESSION_HEADER = "x-session-id"
PROJECT_HEADER = "x-project-id"
INTERRUPTION_HEADER = "x-user-interruption"
GRACE_HEADER = "x-sonant-resume-grace"
MAX_GRACE = 600.0


@dataclass(slots=True)
class AcceptedRequest:
    """A request for an answer that passed every check. Times are unix seconds, `grace` is in seconds, `size` in bytes.

    `interrupts` says that it stops what is being said in its session, `streamed` that its answer is a stream.
    """

    caller: Caller
    body: dict[str, Any]
    asked: ChatRequest | EmbeddingRequest
    request_id: str
    session_id: str
    user_id: str | None
    project_id: str | None
    grace: float
    interrupts: bool
    size: int
    received_at: float
    deadline: float
    streamed: bool
    place: BodyPlace

    def forget_content(self) -> None:
        """Let go of what is on the log: the answer may take minutes, and the request megabytes."""
        self.place.leave()
        del self.body, self.asked


async def accept(request: web.Request, place: BodyPlace) -> AcceptedRequest:
    """The request, checked; raises Refused 400, 404 for an unknown model, 408, 413, 415 or 503."""
    deps = request.app[DEPS]
    body = await read_json(request, max_bytes=deps.settings.max_body_bytes, place=place)
    size = request[BODY_BYTES]
    async with step(size):
        chat = _checked(body, deps.settings)
    session_id = _session_id(request)
    user_id, project_id = any_user(request), _project_id(request)
    grace = resume_grace(request, deps.settings.resume_grace)
    await deps.models.check(chat.model)
    request_id = f"chatcmpl-{secrets.token_hex(16)}"
    received_at = time.time()
    return AcceptedRequest(
        caller=request[CALLER],
        body=body,
        asked=chat,
        request_id=request_id,
        session_id=session_id or request_id,
        user_id=user_id,
        project_id=project_id,
        grace=grace,
        interrupts=session_id is not None and INTERRUPTION_HEADER in request.headers,
        size=size,
        received_at=received_at,
        deadline=received_at + deps.settings.chat_deadline,
        streamed=bool(chat.stream),
        place=place,
    )


async def accept_embeddings(request: web.Request, place: BodyPlace) -> AcceptedRequest:
    """An embeddings request, checked; raises as `accept`."""
    deps = request.app[DEPS]
    body = await read_json(request, max_bytes=deps.settings.max_body_bytes, place=place)
    size = request[BODY_BYTES]
    async with step(size):
        asked = validate(EmbeddingRequest, body)
    user_id = any_user(request)
    await deps.models.check(asked.model)
    request_id = f"embd-{secrets.token_hex(16)}"
    received_at = time.time()
    return AcceptedRequest(
        caller=request[CALLER],
        body=body,
        asked=asked,
        request_id=request_id,
        session_id=request_id,
        user_id=user_id,
        project_id=None,
        grace=0.0,
        interrupts=False,
        size=size,
        received_at=received_at,
        deadline=received_at + deps.settings.chat_deadline,
        streamed=False,
        place=place,
    )


def _checked(body: dict[str, Any], settings: GatewaySettings) -> ChatRequest:
    # Counted first: to validate very many of them takes long.
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > settings.max_messages:
        message = f"Too many messages: {len(messages)}, at most {settings.max_messages} are accepted."
        raise bad_request(message, "messages", "too_many_messages")
    return validate(ChatRequest, body)


def _session_id(request: web.Request) -> str | None:
    """What the caller calls the session: in the query as voice platforms do, else in the header."""
    if given := request.query.get("custom_session_id"):
        return checked_id(given, "custom_session_id")
    given = request.headers.get(SESSION_HEADER)
    return checked_id(given, SESSION_HEADER) if given else None


def _project_id(request: web.Request) -> str | None:
    return checked_id(request.headers[PROJECT_HEADER], PROJECT_HEADER) if PROJECT_HEADER in request.headers else None


def resume_grace(request: web.Request, default: float) -> float:
    """Seconds an answer goes on after its client dropped; raises Refused 400."""
    given = request.headers.get(GRACE_HEADER)
    if given is None:
        return default
    try:
        grace = float(given)
    except ValueError:
        grace = -1.0
    if not 0 <= grace <= MAX_GRACE:
        raise bad_request(f"Invalid '{GRACE_HEADER}': seconds from 0 to {MAX_GRACE:.0f}.", GRACE_HEADER)
    return grace
