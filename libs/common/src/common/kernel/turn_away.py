"""What becomes of a request that there is no place for: its caller is told to come back."""

from typing import Any

from common.bus.live.writer import LiveWriter
from common.bus.request_reply import send_refusal
from common.events.envelope import Event
from common.events.record import Received
from common.events.spec import RequestSpec
from common.failures import Refused
from common.kernel.handlers import D, Handler

BUSY = Refused(
    503,
    "Too many requests of this organisation are under way: come back in a moment.",
    "busy",
    type="server_error",
    headers={"retry-after": "1"},
)


def may_be_turned_away(record: Received, handler: Handler[Any]) -> bool:
    """Whether somebody waits for this who can be told."""
    if "reply-to" not in record.headers:
        return False
    return handler.full is not None or isinstance(handler.spec, RequestSpec)


async def turn_away(event: Event[Any], handler: Handler[D], deps: D, live: LiveWriter) -> None:
    """Tell the one who waits, as the handler wants it or with a refusal (503)."""
    if handler.full is None:
        send_refusal(live, event, BUSY)
    else:
        await handler.full(event, deps)
