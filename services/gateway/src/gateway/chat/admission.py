"""Admission of a chat request under the limits of its key, and the settlement of what was reserved."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from gateway.chat.accepted_request import AcceptedRequest
from gateway.chat.stream import Stream
from gateway.deps import Deps
from gateway.http.large_bodies import step


@asynccontextmanager
async def admitted(accepted: AcceptedRequest, deps: Deps) -> AsyncIterator[tuple[Stream, dict[str, str]]]:
    """The open stream of a counted request that is admitted, and the `x-ratelimit-*` headers of its answer.

    What was reserved is settled when the answer is over, whoever reads that. Raises Refused 429, 400 or 503.
    """
    async with step(accepted.size):
        reserved = accepted.asked.reserved_tokens()
    headers = await _reserve(accepted, reserved, deps)
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
            yield stream, headers
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


async def _reserve(accepted: AcceptedRequest, tokens: int, deps: Deps) -> dict[str, str]:
    lifetime = accepted.deadline - time.time()
    try:
        return await deps.limits.admit(accepted.caller, accepted.request_id, tokens, lifetime, counted=True)
    except asyncio.CancelledError:
        # Nobody knows whether it was admitted: a slot is freed, tokens that may never have been taken stay as they are.
        deps.tasks.spawn(deps.limits.settle(accepted.caller, accepted.request_id, 0, 0), "settle")
        raise
