"""Sessions over HTTP: what is kept of them, what was heard, and for how long they are kept."""

import base64
import time
from typing import Annotated, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from common.events.reply import content
from common.events.session_turns import (
    SESSION_DELETE_REQUESTED,
    SESSION_LIST_REQUESTED,
    SESSION_POLICY_REQUESTED,
    SESSION_REQUESTED,
    SPOKEN_REPORTED,
    Heard,
    SessionDeleteRequested,
    SessionList,
    SessionListRequested,
    SessionPlace,
    SessionPolicyRequested,
    SessionRequested,
    SessionRow,
    Spoken,
    SpokenReported,
)
from gateway.chat.session_use import COMPLETION_ID
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.end_user import checked_id
from gateway.http.errors import bad_request
from gateway.http.fields import Query, Strict, Whole
from gateway.http.request_reply import answer
from gateway.http.validation import read_query, validate

# Room for what an answer of usual length says.
MAX_HEARD_BYTES = 256 * 1024
MAX_HEARD_CHARACTERS = 200_000
MAX_SPEECH_MS = 24 * 3600 * 1000
MAX_POLICY_BYTES = 1024
MAX_DAYS = 3660


class HeardBody(Strict):
    """What the user has heard of an answer, in one of these ways.

    `text` is its beginning, `characters` how many of it. `audio_ms` were played of its speech, which takes `of_ms` in
    all; without that its length is estimated.
    """

    text: Annotated[str, Field(max_length=MAX_HEARD_CHARACTERS)] | None = None
    characters: Annotated[int, Field(ge=0, le=MAX_HEARD_CHARACTERS), Whole] | None = None
    audio_ms: Annotated[float, Field(ge=0, le=MAX_SPEECH_MS)] | None = None
    of_ms: Annotated[float, Field(gt=0, le=MAX_SPEECH_MS)] | None = None

    def checked(self) -> Heard:
        """As it travels; raises Refused 400 where nothing is said, or too much."""
        told = [name for name in ("text", "characters", "audio_ms") if getattr(self, name) is not None]
        if len(told) != 1:
            message = "Invalid 'heard': say it in one way, by 'text', 'characters' or 'audio_ms'."
            raise bad_request(message, "heard", "invalid_value")
        if self.of_ms is not None and self.audio_ms is None:
            raise bad_request("Invalid 'of_ms': it goes with 'audio_ms'.", "heard.of_ms", "invalid_value")
        return Heard(**self.model_dump(exclude_none=True))


class HeardAtInterruption(HeardBody):
    """The same in the small body of an interruption; what is longer is reported by itself."""

    text: Annotated[str, Field(max_length=1000)] | None = None


class SpokenBody(Strict):
    """Body of `POST /v1/sessions/{session_id}/spoken`; `id` is the answer's, the last one of the session without it."""

    id: Annotated[str, Field(pattern=rf"^{COMPLETION_ID.pattern}$")] | None = None
    heard: HeardBody


class SessionsQuery(Query):
    """Which sessions to list: those last used first, behind the place `after` that an answer named as `next`."""

    user: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[str, Field(max_length=1000)] | None = None


class SessionPage(BaseModel):
    """A page of sessions; `next` is where the one behind it begins."""

    object: Literal["list"]
    data: list[SessionRow]
    has_more: bool
    next: str | None


class DeletedSession(BaseModel):
    """A session that is forgotten."""

    id: str
    object: Literal["session.deleted"]
    deleted: bool


class SpokenAnswer(BaseModel):
    """What of the answer `id` counts as spoken."""

    id: str
    object: Literal["session.spoken"]
    spoken: str
    characters: int


class SessionPolicyBody(Strict):
    """For how many days after its last turn a session is kept; null is as the operator set it for everyone."""

    days: Annotated[int, Field(ge=1, le=MAX_DAYS), Whole] | None


async def show_session(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{session_id}`."""
    asked = SessionRequested(org_id=request[CALLER].org_id, session_id=_session(request))
    return await request.app[DEPS].request_reply.query(SESSION_REQUESTED, asked)


async def delete_session(request: web.Request) -> web.Response:
    """`DELETE /v1/sessions/{session_id}`."""
    asked = SessionDeleteRequested(org_id=request[CALLER].org_id, session_id=_session(request), at=time.time())
    reply = await request.app[DEPS].request_reply.ask(SESSION_DELETE_REQUESTED, asked)
    return answer(reply, lambda gone: {"object": "session.deleted", **content(gone)})


async def list_sessions(request: web.Request) -> web.Response:
    """`GET /v1/sessions`."""
    query = read_query(request, SessionsQuery)
    user_id = None if query.user is None else checked_id(query.user, "user")
    after = None if query.after is None else _place(query.after)
    asked = SessionListRequested(org_id=request[CALLER].org_id, user_id=user_id, limit=query.limit, after=after)
    return answer(await request.app[DEPS].request_reply.ask(SESSION_LIST_REQUESTED, asked), _page)


async def report_spoken(request: web.Request) -> web.Response:
    """`POST /v1/sessions/{session_id}/spoken`: what the user has heard of an answer."""
    session_id = _session(request)
    body = validate(SpokenBody, await read_json(request, max_bytes=MAX_HEARD_BYTES))
    spoken = await note_heard(request, session_id, body.id, body.heard.checked())
    return web.json_response({"object": "session.spoken", **content(spoken)})


async def note_heard(request: web.Request, session_id: str, request_id: str | None, heard: Heard) -> Spoken:
    """Have a session remember what was heard. Raises Refused 404, 409 or 503."""
    asked = SpokenReported(
        org_id=request[CALLER].org_id, session_id=session_id, request_id=request_id, heard=heard, at=time.time()
    )
    return (await request.app[DEPS].request_reply.ask(SPOKEN_REPORTED, asked)).body


async def get_policy(request: web.Request) -> web.Response:
    """`GET /v1/admin/session-policy`."""
    asked = SessionPolicyRequested(org_id=request[CALLER].org_id)
    return await request.app[DEPS].request_reply.query(SESSION_POLICY_REQUESTED, asked)


async def set_policy(request: web.Request) -> web.Response:
    """`PUT /v1/admin/session-policy`."""
    body = validate(SessionPolicyBody, await read_json(request, max_bytes=MAX_POLICY_BYTES))
    asked = SessionPolicyRequested(org_id=request[CALLER].org_id, days=body.days or 0)
    return await request.app[DEPS].request_reply.query(SESSION_POLICY_REQUESTED, asked)


def _session(request: web.Request) -> str:
    return checked_id(request.match_info["session_id"], "session_id")


def _page(listed: SessionList) -> dict[str, object]:
    last = listed.data[-1] if listed.has_more and listed.data else None
    following = None if last is None else _cursor(last.updated_at, last.id)
    return {"object": "list", **content(listed), "next": following}


def _cursor(updated_at: float, session_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([updated_at, session_id])).decode()


def _place(cursor: str) -> SessionPlace:
    """Where a page begins; raises Refused 400 for what no page has named."""
    try:
        updated_at, session_id = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if not 0 <= float(updated_at) < 1e11:
            raise ValueError("no time")
        return SessionPlace(updated_at=updated_at, id=checked_id(str(session_id), "after"))
    except (ValueError, TypeError):
        raise bad_request("Invalid 'after': the place that an answer named as 'next'.", "after") from None
