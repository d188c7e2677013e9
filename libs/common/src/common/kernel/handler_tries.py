"""A handler is tried as often as its event allows; what it raises says what to do about it."""

import asyncio
import time
from typing import Any, NamedTuple

import structlog

from common.bus.live.writer import LiveWriter
from common.bus.request_reply import send_refusal, send_reply
from common.events.envelope import Event
from common.events.spec import EventSpec
from common.failures import Halt, Park, Refused, Retry
from common.kernel import access_log, metrics
from common.kernel.dead_letters import Failures
from common.kernel.handlers import D, Handler

log = structlog.get_logger(__name__)

# A bug is given a few tries, since it may have been a race; then the record is parked, not the whole lane.
BUG_TRIES = 5


class FailedTries(NamedTuple):
    """A record was tried as often as it may be."""

    error: Exception
    failures: Failures


async def tried_patiently(event: Event[Any], handler: Handler[D], deps: D, live: LiveWriter) -> FailedTries | None:
    """What became of it where that is final; None where it was done. Raises Halt."""
    first_failure = 0.0
    attempt = 0
    while True:
        attempt += 1
        try:
            reply = await handler.act(event, deps)
            if reply is not None:
                access_log.note(status=reply.status)
                send_reply(live, event, reply)
        except Halt:
            raise
        except Refused as refused:
            access_log.note(status=refused.status, code=refused.code)
            send_refusal(live, event, refused)
            return None
        except Park as error:
            return FailedTries(error, Failures(attempt, first_failure or time.time()))
        except Exception as error:
            first_failure = first_failure or time.time()
            _note_failure(handler.spec, event, error)
            delay = handler.spec.retry.delay(attempt) if isinstance(error, Retry) or attempt < BUG_TRIES else None
            if delay is None:
                return FailedTries(error, Failures(attempt, first_failure))
            await asyncio.sleep(delay)
        else:
            return None


def _note_failure(spec: EventSpec[Any], event: Event[Any], error: Exception) -> None:
    metrics.EVENT_RETRIES.labels(spec.type).inc()
    if isinstance(error, Retry):
        log.info("handler asks for another try", event_type=spec.type, event_id=event.id, error=str(error))
        return
    metrics.EVENT_BUGS.labels(spec.type).inc()
    log.error("handler failed unexpectedly", event_type=spec.type, event_id=event.id, exc_info=error)
