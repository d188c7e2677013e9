"""Taking a false interruption up: an answer goes on where its user stopped hearing it."""

import secrets
import time
from typing import Annotated

from aiohttp import web
from pydantic import Field

from common.events.chat import SessionUse
from common.events.session_turns import SessionTurn, TurnFound
from common.failures import Refused
from gateway.chat.accepted_request import AcceptedRequest, resume_grace
from gateway.chat.completion_request import ChatRequest, StreamOptions
from gateway.chat.completions import admit_and_answer
from gateway.chat.session_use import COMPLETION_ID, kept_turn
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.end_user import checked_id
from gateway.http.fields import Strict
from gateway.http.large_bodies import BodyPlace
from gateway.http.validation import validate

MAX_BODY_BYTES = 4096
# Stands where a request has its messages; what the model is asked with is the session's.
PLACEHOLDER = {"role": "user", "content": "…"}


class SessionResumption(Strict):
    """Body of `POST /v1/sessions/{session_id}/resume`, which may be left out.

    `id` is the answer to go on with: the last one of the session, and none other.
    """

    id: Annotated[str, Field(pattern=rf"^{COMPLETION_ID.pattern}$")] | None = None
    stream_options: StreamOptions | None = None


async def resume_session(request: web.Request) -> web.StreamResponse:
    """`POST /v1/sessions/{session_id}/resume`: a stream, in the dialect of the request that was interrupted."""
    deps = request.app[DEPS]
    caller = request[CALLER]
    session_id = checked_id(request.match_info["session_id"], "session_id")
    body = await read_json(request, max_bytes=MAX_BODY_BYTES) if request.body_exists else {}
    asked = validate(SessionResumption, body)
    deps.quota.check(caller.org_id)
    turn = _resumable(await kept_turn(request, session_id=session_id), asked.id)
    await deps.models.check(turn.model)
    place = deps.large_bodies.place(caller.org_id)
    try:
        return await admit_and_answer(request, deps, _accepted(request, turn, asked, place))
    finally:
        place.leave()


def _resumable(found: TurnFound, wanted: str | None) -> SessionTurn:
    """The last turn; raises Refused 409 where it is another one than is meant, or was heard to its end."""
    turn = found.turn
    if wanted not in (None, turn.id):
        raise Refused(409, "Something else was said in this session since then.", "not_the_last", "id")
    if not found.open_ended:
        raise Refused(409, "The last answer of this session was heard to its end.", "nothing_to_resume", "session_id")
    if turn.left_out:
        raise Refused(409, "The last turn of this session was too large to be kept.", "turn_not_kept", "session_id")
    return turn


def _accepted(request: web.Request, turn: SessionTurn, asked: SessionResumption, place: BodyPlace) -> AcceptedRequest:
    deps, caller = request.app[DEPS], request[CALLER]
    body = {**(turn.request or {}), "model": turn.model, "stream": True}
    body["messages"] = [*turn.instructions, *(turn.messages or (PLACEHOLDER,))]
    if asked.stream_options is not None:
        body["stream_options"] = asked.stream_options.model_dump(exclude_none=True)
    received_at = time.time()
    return AcceptedRequest(
        caller=caller,
        body=body,
        asked=validate(ChatRequest, body),
        request_id=f"chatcmpl-{secrets.token_hex(16)}",
        session_id=turn.session_id,
        user_id=turn.user_id,
        project_id=turn.project_id,
        grace=resume_grace(request, deps.settings.resume_grace),
        interrupts=False,
        size=len(str(body)),
        received_at=received_at,
        deadline=received_at + deps.settings.chat_deadline,
        streamed=True,
        place=place,
        dialect=turn.dialect,
        session=SessionUse(store=True, continues=turn.id),
    )
