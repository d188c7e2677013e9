"""Stops that were signalled before their turn began."""

import time
from collections import OrderedDict

from common.bus.live.writer import LiveWriter
from llm_stream.turns.receipts import send_receipts
from llm_stream.turns.stop import Stop
from llm_stream.turns.turn import Turn

# More than this many that match no turn are noise.
MAX_EARLY_STOPS = 10_000


class EarlyStops:
    """Remembers stops of requests and of sessions until their turns begin."""

    def __init__(self, live: LiveWriter) -> None:
        self._live = live
        self._requests: OrderedDict[str, Stop] = OrderedDict()
        self._sessions: OrderedDict[str, Stop] = OrderedDict()

    def add_for_request(self, request_id: str, stop: Stop) -> None:
        """Stop this request when it comes."""
        _remember(self._requests, request_id, stop)

    def add_for_session(self, session: str, stop: Stop) -> None:
        """Stop every request of this session that was received before the stop."""
        _remember(self._sessions, session, stop)

    def signal_at(self, session: str) -> float:
        """When this session was last interrupted, as unix seconds; 0 where it was not."""
        stop = self._sessions.get(session)
        return 0.0 if stop is None else stop.signal_at

    def apply(self, turn: Turn) -> None:
        """Stop a turn that begins, where that was signalled before."""
        stop = self._requests.pop(turn.request.request_id, None)
        if stop is None:
            session = self._sessions.get(turn.session)
            stop = session if session is not None and session.signal_at >= turn.request.received_at else None
        if stop is None:
            return
        turn.client_left(stop, stop.signal_at + stop.grace - time.time() if stop.grace else 0.0)
        send_receipts(self._live, stop, [turn])


def _remember(stops: OrderedDict[str, Stop], key: str, stop: Stop) -> None:
    stops[key] = stop
    stops.move_to_end(key)
    while len(stops) > MAX_EARLY_STOPS:
        stops.popitem(last=False)
