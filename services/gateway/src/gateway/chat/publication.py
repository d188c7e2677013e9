"""Publishing a request for an answer on the log."""

import math
from typing import Any

from common.bus.port import BusUnavailableError, UnconfirmedError, check_sizes
from common.events.chat import CHAT_REPLY_REQUESTED
from common.events.embeddings import EMBEDDINGS_REQUESTED
from common.events.envelope import Event
from common.events.record import Record
from common.events.spec import EventSpec
from gateway.chat.accepted_request import AcceptedRequest
from gateway.chat.completion_request import ChatRequest
from gateway.chat.stream import Stream
from gateway.deps import Deps
from gateway.http.errors import unavailable
from gateway.http.large_bodies import step

NOT_ACCEPTED = "The request was not accepted: the log does not answer."
UNKNOWN = (
    "It is not known whether the request was accepted: the log did not acknowledge it. "
    "It is withdrawn and will not be answered; send it again."
)


def request_record(accepted: AcceptedRequest, mailbox: str, answer_tokens: int | None = None) -> Record:
    """What goes onto the log; its answer comes to `mailbox`, with choices of at most `answer_tokens` where that is set.

    Raises RecordTooLargeError.
    """
    spec: EventSpec[Any] = CHAT_REPLY_REQUESTED if isinstance(accepted.asked, ChatRequest) else EMBEDDINGS_REQUESTED
    written: dict[str, Any] = {}
    if accepted.dialect is not None:
        written = {"dialect": accepted.dialect, "prosody": accepted.prosody}
    if (budget := accepted.caller.budget) is not None:
        written["budget"] = budget
    if accepted.cache is not None:
        written["cache"] = accepted.cache
    if accepted.session is not None:
        written["session"] = accepted.session
    # An embeddings request knows no project, and takes what it knows.
    payload = spec.payload(
        request_id=accepted.request_id,
        org_id=accepted.caller.org_id,
        key_id=accepted.caller.key_id,
        session_id=accepted.session_id,
        user_id=accepted.user_id,
        project_id=accepted.project_id,
        model=accepted.asked.model,
        stream=bool(accepted.asked.stream),
        body=accepted.body,
        resume_grace=accepted.grace,
        received_at=accepted.received_at,
        answer_tokens=answer_tokens,
        **written,
    )
    event = Event(
        spec,
        payload,
        id=accepted.request_id,
        deadline=accepted.deadline,
        reply_to=mailbox,
        request_id=accepted.request_id,
    )
    record = event.record()
    check_sizes([record])
    return record


async def publish(accepted: AcceptedRequest, answer_tokens: int | None, stream: Stream, deps: Deps) -> None:
    """Publish a request whose answer `stream` awaits, and let go of its content.

    Raises Refused 503 where the log does not take it, and RecordTooLargeError.
    """
    async with step(accepted.size):
        record = request_record(accepted, deps.streams.mailbox, answer_tokens)
    if accepted.interrupts:
        # Everything of this session received before this request gives way to it, and never it itself.
        before = math.nextafter(accepted.received_at, 0.0)
        await deps.streams.interrupt(accepted.caller.org_id, accepted.session_id, "newer_request", before)
    stream.used_tokens = None
    try:
        await deps.log.publish(record)
    except BusUnavailableError as error:
        if await stream.waiter.arrived(0):
            # It was written and is being answered: only the acknowledgement is missing.
            accepted.forget_content()
            return
        # It may have been written all the same: whoever finds it must not start.
        deps.streams.stop(stream, "client_closed", withdrawn=True)
        stream.used_tokens = 0
        raise unavailable(UNKNOWN if isinstance(error, UnconfirmedError) else NOT_ACCEPTED) from error
    accepted.forget_content()
