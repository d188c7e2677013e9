"""Embeddings: the same way as a chat completion, with an answer whose bytes are passed on as they are."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping

import orjson
from aiohttp import web

from common.bus.port import BusUnavailableError
from common.events.chat import CHAT_REQUESTS
from gateway.chat.accepted_request import AcceptedRequest, accept_embeddings
from gateway.chat.admission import admitted
from gateway.chat.publication import publish
from gateway.chat.stream import Stream
from gateway.chat.whole_answer import WholeAnswer, hear_whole
from gateway.deps import DEPS, Deps
from gateway.http.context import CALLER, COMPLETION, COMPLETION_HEADER
from gateway.http.errors import timed_out, unavailable
from gateway.http.idempotency import IDEMPOTENCY_HEADER
from gateway.http.large_bodies import step

# A larger answer is not kept for a repetition, which asks for the vectors again: that changes nothing.
MAX_REPEATABLE_BYTES = 8 * 1024 * 1024


async def create_embeddings(request: web.Request) -> web.StreamResponse:
    """`POST /v1/embeddings` and `POST /embeddings`."""
    deps = request.app[DEPS]
    caller = request[CALLER]
    deps.quota.check(caller.org_id)
    place = deps.large_bodies.place(caller.org_id)
    try:
        accepted = await accept_embeddings(request, place)
        return await _answer_once(request, deps, accepted)
    finally:
        place.leave()


async def _answer_once(request: web.Request, deps: Deps, accepted: AcceptedRequest) -> web.StreamResponse:
    async with step(accepted.size):
        asked = orjson.dumps([accepted.body, accepted.user_id], option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(asked).digest()
        del asked
    async with deps.idempotency.guard(request, accepted.caller, digest, lease=deps.settings.chat_deadline) as slot:
        if slot.replay is not None:
            return slot.replay
        response = await _admit_and_answer(request, deps, accepted)
        if isinstance(response, web.Response):
            await slot.store(response)
        return response


async def _admit_and_answer(request: web.Request, deps: Deps, accepted: AcceptedRequest) -> web.StreamResponse:
    request[COMPLETION] = accepted.request_id
    deps.presence.require(CHAT_REQUESTS)
    await deps.budgets.check(accepted.caller)
    if not accepted.place.charged:
        await deps.quota.take(accepted.caller.org_id, accepted.size)
    async with admitted(accepted, deps) as (stream, headers, _):
        try:
            answer = await _ask(deps, accepted, stream, headers)
        except TimeoutError:
            # llm-stream meets the same deadline by itself and says so in the fact.
            raise timed_out("The embeddings were not complete before the deadline.") from None
        except (asyncio.CancelledError, ConnectionError):
            deps.streams.stop(stream, "client_closed")
            raise
    return await _respond(request, deps, accepted, answer, headers)


async def _ask(deps: Deps, accepted: AcceptedRequest, stream: Stream, headers: Mapping[str, str]) -> WholeAnswer:
    await publish(accepted, None, stream, deps)
    return await hear_whole(deps, stream, accepted.deadline, headers)


async def _respond(
    request: web.Request, deps: Deps, accepted: AcceptedRequest, answer: WholeAnswer, limits: Mapping[str, str]
) -> web.StreamResponse:
    headers = {COMPLETION_HEADER: accepted.request_id, **limits, **answer.headers}
    if not answer.kept_bytes:
        return web.Response(body=answer.body, content_type="application/json", headers=headers)
    pieces = deps.kept_bodies.pieces(accepted.request_id, answer.kept_bytes)
    try:
        # Kept bodies end by themselves where the client has left before this.
        if IDEMPOTENCY_HEADER in request.headers and answer.kept_bytes <= MAX_REPEATABLE_BYTES:
            body = b"".join([piece async for piece in pieces])
            return web.Response(body=body, content_type="application/json", headers=headers)
        return await pass_on(request, pieces, answer.kept_bytes, headers)
    finally:
        deps.tasks.spawn(_drop(deps, accepted.request_id), "drop-body")


async def pass_on(
    request: web.Request, pieces: AsyncIterator[bytes], size: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Write a body piece by piece, as fast as its client reads; one that is lost on the way is cut short."""
    try:
        first = await anext(pieces)
    except BusUnavailableError as error:
        raise unavailable("The embeddings were lost on their way: ask again.") from error
    response = web.StreamResponse(headers=dict(headers))
    response.content_type, response.content_length = "application/json", size
    await response.prepare(request)
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def _drop(deps: Deps, request_id: str) -> None:
    try:
        await deps.kept_bodies.drop(request_id)
    except BusUnavailableError:
        # It ends by itself.
        return
