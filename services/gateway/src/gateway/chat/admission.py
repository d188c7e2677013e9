"""Admission of a chat request under the limits of its key, and the settlement of what was reserved."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import NamedTuple

from gateway.chat.accepted_request import AcceptedRequest
from gateway.chat.stream import Stream
from gateway.deps import Deps
from gateway.http.large_bodies import step
from gateway.http.limits import Reservation


class Admitted(NamedTuple):
    """The open stream of a request, the `x-ratelimit-*` headers of its answer, and what each choice may say.

    `answer_tokens` is None where that is not for us to say.
    """

    stream: Stream
    headers: dict[str, str]
    answer_tokens: int | None


@asynccontextmanager
async def admitted(accepted: AcceptedRequest, deps: Deps) -> AsyncIterator[Admitted]:
    """A counted request as it is admitted.

    What was reserved is settled when the answer is over, whoever reads that. Raises Refused 429, 400 or 503.
    """
    async with step(accepted.size):
        least, most = accepted.asked.reserved_tokens(), accepted.asked.most_tokens()
    reservation = await _reserve(accepted, least, most, deps)
    # Without a limit of tokens nothing is settled, and the answer may be as long as it likes.
    reserved, answer_tokens = reservation.tokens, None
    if accepted.caller.limits.tokens_per_minute is not None:
        answer_tokens = accepted.asked.answer_tokens(reserved)
    with ExitStack() as held:
        stream = held.enter_context(
            deps.streams.open(
                accepted.request_id,
                accepted.caller.org_id,
                accepted.session_id,
                received_at=accepted.received_at,
                streamed=bool(accepted.asked.stream),
                key_id=accepted.caller.key_id,
            )
        )
        try:
            yield Admitted(stream, reservation.headers, answer_tokens)
        finally:
            if accepted.caller.limits.any:
                deps.settlement.settle(
                    accepted.caller,
                    stream,
                    held.pop_all(),
                    reserved=reserved,
                    deadline=accepted.deadline,
                    grace=accepted.grace,
                )


async def _reserve(accepted: AcceptedRequest, least: int, most: int, deps: Deps) -> Reservation:
    lifetime = accepted.deadline - time.time()
    try:
        return await deps.limits.admit(accepted.caller, accepted.request_id, least, lifetime, most=most, counted=True)
    except asyncio.CancelledError:
        # Nobody knows whether it was admitted: a slot is freed, tokens that may never have been taken stay as they are.
        deps.tasks.spawn(deps.limits.settle(accepted.caller, accepted.request_id, 0, 0), "settle")
        raise
