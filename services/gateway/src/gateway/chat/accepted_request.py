"""Reading a request for an answer: its body and headers, checked before anything is reserved or published."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from aiohttp import web

from common.events.chat import AnswerDialect, SessionUse, UtteranceProsody
from gateway.chat.completion_request import ChatRequest
from gateway.chat.embedding_request import EmbeddingRequest
from gateway.chat.session_use import session_behind, session_use
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
CACHE_HEADER = "x-sonant-cache"
CACHE_WORDS = ("on", "off", "refresh")
GRACE_HEADER = "x-sonant-resume-grace"
MAX_GRACE = 600.0


class Reading(NamedTuple):
    """A request in another shape as the chat request it means; the ids are those that its body names.

    `newest_wins`: it stops what is being said in its session.
    """

    body: dict[str, Any]
    session_id: str | None
    user_id: str | None
    project_id: str | None
    newest_wins: bool
    dialect: AnswerDialect
    prosody: tuple[UtteranceProsody, ...] | None
    session: SessionUse | None = None


CacheUse: TypeAlias = Literal["on", "off", "refresh", "bypass"]
Read: TypeAlias = Callable[[web.Request, dict[str, Any]], Reading]


@dataclass(slots=True)
class AcceptedRequest:
    """A request for an answer that passed every check. Times are unix seconds, `grace` is in seconds, `size` in bytes.

    `interrupts` says that it stops what is being said in its session, `streamed` that its answer is a stream, `dialect`
    who that is written for, where it is not OpenAI's own.
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
    dialect: AnswerDialect | None = None
    prosody: tuple[UtteranceProsody, ...] | None = None
    cache: CacheUse | None = None
    session: SessionUse | None = None

    def forget_content(self) -> None:
        """Let go of what is on the log: the answer may take minutes, and the request megabytes."""
        self.place.leave()
        del self.body, self.asked


async def accept(request: web.Request, place: BodyPlace, read: Read | None = None) -> AcceptedRequest:
    """The request, checked; `read` makes a chat request of one in another shape.

    Raises Refused 400, 404 for an unknown model, 408, 413, 415 or 503.
    """
    deps = request.app[DEPS]
    body = await read_json(request, max_bytes=deps.settings.max_body_bytes, place=place)
    size = request[BODY_BYTES]
    reading = None
    if read is not None:
        async with step(size):
            reading = read(request, body)
        body = reading.body
    async with step(size):
        chat = _checked(body, deps.settings)
    session_id = _session_id(request)
    user_id, project_id = any_user(request), _project_id(request)
    interrupts = INTERRUPTION_HEADER in request.headers
    if reading is not None:
        within = reading.dialect.told.get("conversation")
        if within is not None and session_id not in (None, within):
            message = "Invalid 'conversation': the request names another session."
            raise bad_request(message, "conversation", "other_session")
        session_id = session_id or _checked_name(reading.session_id, "session")
        user_id = user_id or _checked_name(reading.user_id, "user")
        project_id = project_id or _checked_name(reading.project_id, "project")
        interrupts = interrupts or reading.newest_wins
    use = session_use(body, chat) if reading is None or reading.session is None else reading.session
    if use is not None and use.previous:
        session_id = await session_behind(request, use.previous, session_id)
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
        interrupts=session_id is not None and interrupts,
        size=size,
        received_at=received_at,
        deadline=received_at + deps.settings.chat_deadline,
        streamed=bool(chat.stream),
        place=place,
        dialect=None if reading is None else reading.dialect,
        prosody=None if reading is None else reading.prosody,
        cache=cache_use(request),
        session=use,
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


def _checked_name(given: str | None, what: str) -> str | None:
    """An id that the platform sends in the body; raises Refused 400 where it cannot be one."""
    return None if given is None else checked_id(given, what)


def cache_use(request: web.Request) -> CacheUse | None:
    """What a request wants of the cache of answers; raises Refused 400.

    By its own header, or as HTTP has it: `no-cache` wants an answer made anew, `no-store` none that is kept.
    """
    given = request.headers.get(CACHE_HEADER)
    if given is not None:
        if given not in CACHE_WORDS:
            message = f"Invalid '{CACHE_HEADER}': one of {', '.join(CACHE_WORDS)}."
            raise bad_request(message, CACHE_HEADER, "invalid_value")
        return cast("CacheUse", given)
    directives = request.headers.get("cache-control", "").lower()
    if not directives:
        return None
    named = {each.strip() for each in directives.split(",")}
    # `refresh` alone would opt in: who wants nothing old has not said that anything is to be kept.
    return "off" if "no-store" in named else "bypass" if "no-cache" in named else None


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
