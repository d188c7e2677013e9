"""Chat completions, in every dialect: accept the request, admit it, publish it, and write its answer."""

import asyncio
import hashlib
from typing import Any

import orjson
from aiohttp import web

from common.dialects.dialect_table import OPENAI
from common.events.chat import CHAT_REQUESTS
from gateway.chat.accepted_request import AcceptedRequest, Read, accept
from gateway.chat.admission import Admitted, admitted
from gateway.chat.dialect_readers import PROSODY_HEADER, chat_reader, named_dialect, response_reader
from gateway.chat.event_stream import write_stream
from gateway.chat.publication import publish
from gateway.chat.whole_answer import whole_answer, write_whole
from gateway.deps import DEPS, Deps
from gateway.http.context import CALLER, COMPLETION
from gateway.http.errors import timed_out
from gateway.http.idempotency import idempotency_key
from gateway.http.large_bodies import step


async def create_completion(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions` and `POST /chat/completions`."""
    return await _create(request, chat_reader(OPENAI) if PROSODY_HEADER in request.headers else None)


async def create_dialect_completion(request: web.Request) -> web.StreamResponse:
    """`POST /v1/dialects/{dialect}/chat/completions`."""
    return await _create(request, chat_reader(named_dialect(request)))


async def create_response(request: web.Request) -> web.StreamResponse:
    """`POST /v1/responses`."""
    return await _create(request, response_reader(OPENAI))


async def create_dialect_response(request: web.Request) -> web.StreamResponse:
    """`POST /v1/dialects/{dialect}/responses`."""
    return await _create(request, response_reader(named_dialect(request)))


async def _create(request: web.Request, read: Read | None) -> web.StreamResponse:
    deps = request.app[DEPS]
    # Before the body is read.
    caller = request[CALLER]
    deps.quota.check(caller.org_id)
    place = deps.large_bodies.place(caller.org_id)
    try:
        accepted = await accept(request, place, read)
        if accepted.streamed:
            # Nothing is kept of a stream, but a key that is none is one nowhere.
            idempotency_key(request)
            return await admit_and_answer(request, deps, accepted)
        return await _answer_once(request, deps, accepted)
    finally:
        place.leave()


async def _answer_once(request: web.Request, deps: Deps, accepted: AcceptedRequest) -> web.StreamResponse:
    """An answer in one piece, which a repetition with the same idempotency key gets again."""
    async with step(accepted.size):
        digest = _fingerprint(accepted)
    lease = deps.settings.chat_deadline
    async with deps.idempotency.guard(request, accepted.caller, digest, lease=lease) as slot:
        if slot.replay is not None:
            return slot.replay
        response = await admit_and_answer(request, deps, accepted)
        await slot.store(response)
    await write_whole(request, response, deps.streams, accepted.request_id)
    return response


def _fingerprint(accepted: AcceptedRequest) -> bytes:
    """What must be equal in a repetition: the body, and the headers that decide on the answer."""
    body = orjson.dumps(accepted.body, option=orjson.OPT_SORT_KEYS)
    # A session that the caller did not name is new with every request.
    session = None if accepted.session_id == accepted.request_id else accepted.session_id
    named: list[Any] = [session, accepted.user_id, accepted.project_id]
    if accepted.dialect is not None:
        named.append(accepted.dialect.model_dump())
    if accepted.session is not None:
        named.append(accepted.session.model_dump())
    # Its digest: the body itself would lie in memory until the answer is over.
    return hashlib.sha256(body + orjson.dumps(named) if any(named) else body).digest()


async def admit_and_answer(request: web.Request, deps: Deps, accepted: AcceptedRequest) -> web.StreamResponse:
    """The answer to a request that was accepted, under the limits of its key. Raises Refused."""
    request[COMPLETION] = accepted.request_id
    deps.presence.require(CHAT_REQUESTS)
    await deps.budgets.check(accepted.caller)
    if not accepted.place.charged:
        await deps.quota.take(accepted.caller.org_id, accepted.size)
    async with admitted(accepted, deps) as admission:
        try:
            return await _answer(request, deps, accepted, admission)
        except TimeoutError:
            # llm-stream meets the same deadline by itself and says so in the fact.
            raise timed_out("The answer was not complete before the deadline.") from None
        except (asyncio.CancelledError, ConnectionError):
            deps.streams.stop(admission.stream, "client_closed", grace=accepted.grace)
            raise


async def _answer(
    request: web.Request, deps: Deps, accepted: AcceptedRequest, admission: Admitted
) -> web.StreamResponse:
    stream, headers, answer_tokens = admission
    await publish(accepted, answer_tokens, stream, deps)
    if accepted.streamed:
        return await write_stream(request, deps, stream, accepted.deadline, headers)
    return await whole_answer(deps, stream, accepted.deadline, headers)
