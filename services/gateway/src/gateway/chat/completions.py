"""Chat completions: publish the request, then write the frames as they come."""

import asyncio
import math
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import HttpVersion11, web

from common.bus.live.frames import Frame, FrameKind
from common.bus.port import BusUnavailableError, check_sizes
from common.bus.request_reply import read_refusal
from common.events.chat import CHAT_REPLY_REQUESTED, AnswerEnd, AnswerStart, ChatReplyRequested
from common.events.envelope import Event
from common.events.record import Record
from common.events.reply import error_body
from gateway.chat.request import ChatRequest, checked_id
from gateway.chat.streams import Stream
from gateway.deps import DEPS, Deps
from gateway.http.errors import ApiError, bad_request, come_back, not_found, timed_out, unavailable
from gateway.http.middleware import read_json, validate
from gateway.ports import CALLER, COMPLETION, COMPLETION_HEADER, Caller

SESSION_HEADER = "x-session-id"
USER_HEADER = "x-user-id"
PROJECT_HEADER = "x-project-id"
INTERRUPTION_HEADER = "x-user-interruption"
GRACE_HEADER = "x-sonant-resume-grace"
COMPLETION_ID = re.compile(r"chatcmpl-[0-9a-f]{32}")
LONGEST_GRACE = 600.0
# How long a resumed answer may stay unheard of: an attach signal, its way, and a retry.
RESUME_SECONDS = 3.0
# A client that has stopped reading is cut off so long after the deadline, whose error others still get.
UNREAD_SECONDS = 1.0
KEEP_ALIVE = b": keep-alive\n\n"

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A chat request that passed every check."""

    deps: Deps
    caller: Caller
    body: dict[str, Any]
    chat: ChatRequest
    request_id: str
    session_id: str
    user_id: str | None
    project_id: str | None
    grace: float
    interrupts: bool
    received_at: float

    @property
    def deadline(self) -> float:
        return self.received_at + self.deps.settings.chat_deadline


async def create_completion(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions` and `POST /chat/completions`."""
    asked = await _read(request)
    if asked.chat.stream:
        return await _limited(request, asked)
    digest = orjson.dumps(asked.body, option=orjson.OPT_SORT_KEYS)
    async with asked.deps.idempotency.guard(
        request, asked.caller, digest, lease=asked.deps.settings.chat_deadline
    ) as slot:
        if slot.replay is not None:
            return slot.replay
        response = await _limited(request, asked)
        await slot.store(response)
        return response


async def _read(request: web.Request) -> Asked:
    deps = request.app[DEPS]
    settings = deps.settings
    body = await read_json(request, max_bytes=settings.max_body_bytes)
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > settings.max_messages:
        message = f"Too many messages: {len(messages)}, at most {settings.max_messages} are accepted."
        raise bad_request(message, "messages", "too_many_messages")
    chat = validate(ChatRequest, body)
    session_id = _session_id(request)
    user_id, project_id = _optional_id(request, USER_HEADER), _optional_id(request, PROJECT_HEADER)
    grace = _grace(request, settings.resume_grace)
    await deps.models.check(chat.model)
    request_id = f"chatcmpl-{uuid.uuid4().hex}"
    return Asked(
        deps=deps,
        caller=request[CALLER],
        body=body,
        chat=chat,
        request_id=request_id,
        session_id=session_id or request_id,
        user_id=user_id,
        project_id=project_id,
        grace=grace,
        interrupts=session_id is not None and INTERRUPTION_HEADER in request.headers,
        received_at=time.time(),
    )


def _optional_id(request: web.Request, header: str) -> str | None:
    return checked_id(request.headers[header], header) if header in request.headers else None


def _session_id(request: web.Request) -> str | None:
    """What the caller calls the session: in the query as voice platforms do, else in the header."""
    if given := request.query.get("custom_session_id"):
        return checked_id(given, "custom_session_id")
    given = request.headers.get(SESSION_HEADER)
    return checked_id(given, SESSION_HEADER) if given else None


def _grace(request: web.Request, default: float) -> float:
    given = request.headers.get(GRACE_HEADER)
    if given is None:
        return default
    try:
        grace = float(given)
    except ValueError:
        grace = -1.0
    if not 0 <= grace <= LONGEST_GRACE:
        raise bad_request(f"Invalid '{GRACE_HEADER}': seconds from 0 to {LONGEST_GRACE:.0f}.", GRACE_HEADER)
    return grace


async def _limited(request: web.Request, asked: Asked) -> web.StreamResponse:
    """Run within the limits of the key; what was reserved is settled when the answer is over, whoever hears that."""
    request[COMPLETION] = asked.request_id
    limits, reserved = asked.deps.limits, asked.chat.reserved_tokens()
    lifetime = asked.deadline - time.time()
    try:
        headers = await limits.admit(asked.caller, asked.request_id, reserved, lifetime)
    except asyncio.CancelledError:
        # Nobody knows whether it was admitted: a slot is freed, tokens that may never have been taken stay as they are.
        asked.deps.kernel.tasks.spawn(limits.settle(asked.caller, asked.request_id, 0, 0), "settle")
        raise
    with ExitStack() as held:
        stream = held.enter_context(
            asked.deps.streams.open(
                asked.request_id,
                asked.caller.org_id,
                asked.session_id,
                received_at=asked.received_at,
                streamed=bool(asked.chat.stream),
            )
        )
        try:
            return await _answer(request, asked, stream, headers)
        finally:
            if asked.caller.limits.any:
                asked.deps.books.settle(
                    asked.caller,
                    stream,
                    held.pop_all(),
                    reserved=reserved,
                    deadline=asked.deadline,
                    grace=asked.grace,
                )


async def _answer(request: web.Request, asked: Asked, stream: Stream, headers: Mapping[str, str]) -> web.StreamResponse:
    streams = asked.deps.streams
    try:
        record = _request_record(asked)
        if asked.interrupts:
            # Everything of this session received before this request gives way to it, and never it itself.
            before = math.nextafter(asked.received_at, 0.0)
            await streams.interrupt(asked.caller.org_id, asked.session_id, "newer_request", before)
        await _publish(record, asked, stream)
        if asked.chat.stream:
            return await write_stream(request, asked.deps, stream, asked.deadline, headers)
        return await _whole(asked, stream, headers)
    except TimeoutError:
        # llm-stream meets the same deadline by itself and says so in the fact.
        raise timed_out("The answer was not complete before the deadline.") from None
    except (asyncio.CancelledError, ConnectionError):
        streams.stop(stream, "client_closed", grace=asked.grace)
        raise


def _request_record(asked: Asked) -> Record:
    """What goes onto the log. Raises RecordTooLargeError."""
    payload = ChatReplyRequested(
        request_id=asked.request_id,
        org_id=asked.caller.org_id,
        key_id=asked.caller.key_id,
        session_id=asked.session_id,
        user_id=asked.user_id,
        project_id=asked.project_id,
        model=asked.chat.model,
        stream=bool(asked.chat.stream),
        body=asked.body,
        resume_grace=asked.grace,
        received_at=asked.received_at,
    )
    event = Event(
        CHAT_REPLY_REQUESTED,
        payload,
        id=asked.request_id,
        deadline=asked.deadline,
        reply_to=asked.deps.streams.reader.mailbox,
        request_id=asked.request_id,
    )
    record = event.record()
    check_sizes([record])
    return record


async def _publish(record: Record, asked: Asked, stream: Stream) -> None:
    stream.used_tokens = None
    try:
        await asked.deps.kernel.log.publish(record)
    except BusUnavailableError as error:
        if await stream.waiter.arrived(0):
            # It was written and is being answered: only the acknowledgement is missing.
            return
        # It may have been written all the same: whoever finds it must not start.
        asked.deps.streams.stop(stream, "client_closed", withdrawn=True)
        stream.used_tokens = 0
        raise unavailable("The request could not be accepted: the log does not answer.") from error


# -- streaming ----------------------------------------------------------------------------------------------------


async def write_stream(
    request: web.Request, deps: Deps, stream: Stream, deadline: float, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Write the frames of an answer as server-sent events.

    Until the first frame everything is still open: an error then is an HTTP error. Later ones travel in band.
    """
    with _bounded(request, stream.received_at + deps.settings.chat_deadline + UNREAD_SECONDS):
        return await _write_frames(request, deps, stream, deadline, headers)


@contextmanager
def _bounded(request: web.Request, until: float) -> Iterator[None]:
    """Cut the connection at `until` (unix seconds): a write waits for as long as its client does not read."""

    def cut() -> None:
        if request.transport is not None:
            request.transport.abort()

    timer = asyncio.get_running_loop().call_later(until - time.time(), cut)
    try:
        yield
    finally:
        timer.cancel()


async def _write_frames(
    request: web.Request, deps: Deps, stream: Stream, deadline: float, headers: Mapping[str, str]
) -> web.StreamResponse:
    response: web.StreamResponse | None = None
    last = b""
    try:
        if (head := stream.head) is not None:
            response = await _prepare(request, stream, {**headers, **head.headers})
        while (batch := await deps.streams.next(stream, deadline, deps.settings.keepalive_seconds)) is not None:
            if response is None and batch:
                response = await _begin(request, stream, batch[0], headers)
            if response is not None:
                last = await _write(response, stream, batch, deps.settings.keepalive_seconds)
                _write_directly(request, response, stream)
    except TimeoutError:
        if response is None:
            raise
        body = error_body("The answer was not complete before the deadline.", type="server_error", code="timeout")
        last = b"data: %b\n\n" % orjson.dumps(body)
    if response is None:
        # Stopped before anything was said: an empty stream.
        response = await _prepare(request, stream, headers)
    await response.write_eof(last)
    return response


async def _begin(request: web.Request, stream: Stream, first: Frame, headers: Mapping[str, str]) -> web.StreamResponse:
    if first.kind == FrameKind.START:
        return await _prepare(request, stream, {**headers, **AnswerStart.model_validate_json(first.payload).headers})
    if first.kind != FrameKind.DATA and stream.number == 0:
        _raise_failure(first, headers)
    return await _prepare(request, stream, headers)


async def _prepare(request: web.Request, stream: Stream, headers: Mapping[str, str]) -> web.StreamResponse:
    own = {COMPLETION_HEADER: stream.request_id, "x-sonant-session-id": stream.session_id}
    response = web.StreamResponse(headers={**SSE_HEADERS, **own, **headers})
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def _write(response: web.StreamResponse, stream: Stream, batch: list[Frame], pause: float) -> bytes:
    """Write a batch; returns what is left to be written together with the end of the body."""
    if not batch:
        if time.time() - (stream.last_byte_at or 0.0) >= pause:
            await response.write(KEEP_ALIVE)
        return b""
    data = b"".join([frame.payload for frame in batch if frame.kind == FrameKind.DATA])
    last = batch[-1]
    stream.number = max(stream.number, last.number)
    if data:
        stream.last_byte_at = time.time()
    if last.kind == FrameKind.END:
        return data
    if last.kind == FrameKind.REPLY:
        # The kernel could not handle the request at all.
        return data + b"data: %b\n\n" % orjson.dumps(orjson.loads(last.payload)["body"])
    if data:
        await response.write(data)
    return b""


def _write_directly(request: web.Request, response: web.StreamResponse, stream: Stream) -> None:
    """From now on write data where it arrives: to wake the request's task costs as much as the write itself.

    The task takes over again for the end, after a stop, and from a client that reads too slowly.
    """
    transport = request.transport
    if stream.waiter.sink is not None or stream.last_byte_at is None or transport is None or not response.chunked:
        return

    def write(batch: list[Frame]) -> bool:
        if stream.stopped or transport.is_closing() or any(frame.kind != FrameKind.DATA for frame in batch):
            return False
        if transport.get_write_buffer_size() > 0:
            return False
        data = b"".join([frame.payload for frame in batch])
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        stream.number = max(stream.number, batch[-1].number)
        stream.last_byte_at = time.time()
        return True

    stream.waiter.sink = write


def _raise_failure(frame: Frame, headers: Mapping[str, str]) -> None:
    """Raise the error of an END or REPLY frame that came before anything was said."""
    if frame.kind == FrameKind.REPLY:
        refused = read_refusal(orjson.loads(frame.payload))
        raise ApiError(
            refused.status,
            refused.message,
            refused.type,
            code=refused.code,
            headers={**headers, **_retry_headers(refused.status, None)},
        )
    error = AnswerEnd.model_validate_json(frame.payload).error
    if error is not None:
        raise ApiError(
            error.status,
            error.message,
            error.type,
            code=error.code,
            param=error.param,
            headers={**headers, **_retry_headers(error.status, error.retry_after)},
        )


def _retry_headers(status: int, seconds: float | None) -> dict[str, str]:
    if seconds is None and status == 429:
        # A quota that is spent: no waiting helps.
        return {"x-should-retry": "false"}
    if seconds is None and status != 503:
        return {}
    return come_back(max(1.0, seconds or 1.0))


# -- not streaming --------------------------------------------------------------------------------------------------


async def _whole(asked: Asked, stream: Stream, headers: Mapping[str, str]) -> web.Response:
    extra: dict[str, str] = {}
    body: bytes | None = None
    streams, pause = asked.deps.streams, asked.deps.settings.keepalive_seconds
    while (batch := await streams.next(stream, asked.deadline, pause)) is not None:
        for frame in batch:
            if frame.kind == FrameKind.START:
                extra = AnswerStart.model_validate_json(frame.payload).headers
            elif frame.kind == FrameKind.DATA:
                body = frame.payload
            else:
                _raise_failure(frame, headers)
    if body is None:
        raise ApiError(409, "The answer was interrupted.", code="interrupted", headers={"x-should-retry": "false"})
    own = {COMPLETION_HEADER: stream.request_id, "x-sonant-session-id": stream.session_id}
    return web.Response(body=body, content_type="application/json", headers={**own, **headers, **extra})


# -- resume ---------------------------------------------------------------------------------------------------------


async def resume_completion(request: web.Request) -> web.StreamResponse:
    """`GET /v1/chat/completions/{id}/stream`: what follows `Last-Event-ID`, from whichever instance answers."""
    deps, caller = request.app[DEPS], request[CALLER]
    request_id = request.match_info["id"]
    after, grace = _last_event_id(request), _grace(request, deps.settings.resume_grace)
    missing = not_found(f"No answer '{request_id}' is in progress or kept.", "id", "completion_not_found")
    if not COMPLETION_ID.fullmatch(request_id) or deps.streams.foreign(request_id, caller.org_id):
        raise missing
    now = time.time()
    deadline = now + deps.settings.chat_deadline
    slot = await deps.limits.resume(caller, request_id, deps.settings.chat_deadline)
    with ExitStack() as held:
        stream = held.enter_context(
            deps.streams.open(request_id, caller.org_id, request_id, received_at=now, after=after)
        )
        try:
            if not await deps.streams.heard(stream, now + RESUME_SECONDS):
                raise missing
            stream.used_tokens = None
            # Its own deadline, not a fresh one; what is over already is read in no time.
            deadline = max(now + RESUME_SECONDS, stream.head.deadline if stream.head else deadline)
            return await write_stream(request, deps, stream, deadline, {})
        except (asyncio.CancelledError, ConnectionError):
            deps.streams.stop(stream, "client_closed", grace=grace)
            raise
        finally:
            if slot:
                deps.books.settle(caller, stream, held.pop_all(), reserved=None, deadline=deadline, grace=grace)


def _last_event_id(request: web.Request) -> int:
    given = request.headers.get("Last-Event-ID", "0")
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise bad_request("Invalid 'Last-Event-ID': the id of an event of this stream.", "Last-Event-ID")
    return int(given)
