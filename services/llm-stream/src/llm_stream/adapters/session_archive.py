"""The port `SessionArchive`: telemetry, asked over the log."""

from common.bus.request_reply import Requester
from common.events.session_turns import (
    SESSION_HISTORY_REQUESTED,
    STORED_TURN_REQUESTED,
    SessionHistory,
    SessionHistoryRequested,
    SessionTurn,
    StoredTurnRequested,
)
from common.failures import Refused

# A turn waits for it; without an answer it can only be refused.
ASK_SECONDS = 3.0


class TelemetryArchive:
    """Asks telemetry."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    async def history(self, org_id: str, session_id: str) -> SessionHistory:
        asked = SessionHistoryRequested(org_id=org_id, session_id=session_id)
        return (await self._requester.ask(SESSION_HISTORY_REQUESTED, asked, timeout=ASK_SECONDS)).body

    async def turn(self, org_id: str, request_id: str) -> SessionTurn | None:
        asked = StoredTurnRequested(org_id=org_id, request_id=request_id)
        try:
            return (await self._requester.ask(STORED_TURN_REQUESTED, asked, timeout=ASK_SECONDS)).body.turn
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
