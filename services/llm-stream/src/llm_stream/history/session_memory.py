"""The memory of sessions: a copy in the live store for the turn that comes next, and telemetry behind it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from common.bus.port import BusUnavailableError
from common.events.chat import AnswerRequested, ChatReplyEnded, ChatReplyRequested
from common.events.envelope import Event
from common.events.record import Record
from common.events.session_summary import RollingSummary
from common.events.session_turns import (
    CHAT_REPLY_SPOKEN,
    CHAT_SESSION_DELETED,
    CHAT_SESSION_EXTENDED,
    ReplySpoken,
    SessionDeleted,
    SessionExtension,
    SessionHistory,
    SessionTurn,
    SpokenBy,
    session_turn,
)
from common.failures import Refused
from common.kernel.single_flight import SingleFlight
from llm_stream.history.session_notes import Mode, is_named
from llm_stream.metrics import SESSION_READS, SESSION_TURNS
from llm_stream.ports import HotSession, SessionArchive, SessionCopies
from llm_stream.retrieval.spoken_memory import to_forget

log = structlog.get_logger(__name__)

# A turn that was stopped ends within a millisecond or two; the one behind it needs to know how.
STOPPED_SECONDS = 1.0
# One that merely runs at the same time is not waited for longer than nobody notices.
RUNNING_SECONDS = 0.15
LOOK_SECONDS = 0.005
# One summary of a session is made at a time, and after one that failed none is tried for so long.
SUMMARY_SECONDS = 60.0
# Whom a background task of the process is given to.
Spawn = Callable[[Coroutine[Any, Any, None], str], Any]
Put = Callable[[Record], Awaitable[None]]


class HistoryUnavailable(Exception):
    """What a session remembers cannot be read now."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The turns of a session that have texts, in order. `cut`: older ones were let go."""

    turns: tuple[SessionTurn, ...]
    cut: bool = False
    summary: RollingSummary | None = None


class SessionMemory:
    """Reads and writes what sessions remember; `most` is how much of a turn may be kept at all.

    `facts` publishes, and is tried until the log takes it. `interrupted_at` says when a session was last interrupted.
    """

    def __init__(
        self,
        copies: SessionCopies,
        archive: SessionArchive,
        facts: Put,
        spawn: Spawn,
        *,
        most: Mode,
        turn_bytes: int,
        interrupted_at: Callable[[str], float] = lambda session: 0.0,
    ) -> None:
        self.most = most
        self.turn_bytes = turn_bytes
        self._copies = copies
        self._archive = archive
        self._facts = facts
        self._spawn = spawn
        self._interrupted_at = interrupted_at
        self._reads: SingleFlight[tuple[str, str], None] = SingleFlight("read session")

    async def begin(self, request: ChatReplyRequested, until: float, *, waits: bool) -> Remembered:
        """What the session of a turn that begins remembers; `waits` for turns before it that are about to end.

        Raises HistoryUnavailable.
        """
        if not is_named(request) and (request.session is None or request.session.previous is None):
            return Remembered(())
        running = (request.request_id, request.received_at, until)
        return await self.read(request.org_id, request.session_id, running, request.received_at if waits else 0.0)

    async def read(
        self,
        org_id: str,
        session_id: str,
        running: tuple[str, float, float] | None = None,
        waits_before: float = 0.0,
    ) -> Remembered:
        """What a session remembers, once what was received before `waits_before` (unix seconds) has had time to end.

        Raises HistoryUnavailable.
        """
        try:
            hot = await self._copies.open(org_id, session_id, running)
            hot = await self._settled(hot, org_id, session_id, waits_before)
            SESSION_READS.labels("hot" if hot.whole else "archive").inc()
            if not hot.whole:
                await self._reads.run((org_id, session_id), lambda: self._fill(org_id, session_id))
                hot = await self._copies.open(org_id, session_id, None)
        except (BusUnavailableError, TimeoutError, Refused) as error:
            SESSION_READS.labels("failed").inc()
            raise HistoryUnavailable(str(error)) from error
        return Remembered(hot.turns, hot.cut, hot.summary)

    async def _settled(self, hot: HotSession, org_id: str, session_id: str, before: float) -> HotSession:
        """The session once the turns that were received earlier have ended, or had their time to."""
        began = time.monotonic()
        while ahead := _ahead(hot, before):
            stopped = self._interrupted_at(f"{org_id}/{session_id}") >= min(ahead)
            if time.monotonic() - began > (STOPPED_SECONDS if stopped else RUNNING_SECONDS):
                break
            await asyncio.sleep(LOOK_SECONDS)
            hot = await self._copies.open(org_id, session_id, None)
        return hot

    async def _fill(self, org_id: str, session_id: str) -> None:
        await self._copies.fill(org_id, session_id, await self._archive.history(org_id, session_id))

    async def archived(self, org_id: str, session_id: str) -> SessionHistory:
        """What telemetry keeps of a session, turns without texts among it. Raises HistoryUnavailable."""
        try:
            return await self._archive.history(org_id, session_id)
        except (BusUnavailableError, TimeoutError, Refused) as error:
            raise HistoryUnavailable(str(error)) from error

    async def session_of(self, org_id: str, request_id: str) -> str | None:
        """The session of a turn that is kept; None where there is no such turn. Raises HistoryUnavailable."""
        try:
            recent = await self._copies.ended_turn(request_id)
            if recent is not None:
                end = ChatReplyEnded.model_validate_json(recent)
                return end.session_id if end.org_id == org_id and end.kept is not None else None
            turn = await self._archive.turn(org_id, request_id)
        except (BusUnavailableError, TimeoutError, Refused) as error:
            raise HistoryUnavailable(str(error)) from error
        return None if turn is None else turn.session_id

    # -- writing ----------------------------------------------------------------------------------------------------

    def queue_ended(self, end: ChatReplyEnded, *, fresh: bool) -> None:
        """Have the session remember how a turn ended, before what is queued for its client later."""
        if end.kept is None:
            return
        SESSION_TURNS.labels(end.kept.mode).inc()
        if end.kept.mode == "full" and (turn := session_turn(end)) is not None:
            self._copies.queue_ended(end.org_id, turn, fresh=fresh)

    async def extend(self, org_id: str, turn: SessionTurn, *, fresh: bool) -> None:
        """Remember a turn that nobody has answered. The fact is on the log before this returns.

        Raises HistoryUnavailable.
        """
        added = SessionExtension(org_id=org_id, session_id=turn.session_id, at=turn.received_at, turn=turn)
        try:
            await self._facts(Event(CHAT_SESSION_EXTENDED, added, id=f"{turn.id}/end").record())
        except BusUnavailableError as error:
            raise HistoryUnavailable(str(error)) from error
        self._copies.queue_ended(org_id, turn, fresh=fresh)

    def queue_summary(self, summary: RollingSummary, org_id: str) -> None:
        """Have the session remember a summary."""
        self._copies.queue_summary(summary, org_id)

    async def begin_summary(self, org_id: str, session_id: str) -> bool:
        """Whether a summary of the session is to be asked for: nobody has lately. Raises HistoryUnavailable."""
        try:
            return await self._copies.begin_summary(org_id, session_id, SUMMARY_SECONDS)
        except BusUnavailableError as error:
            raise HistoryUnavailable(str(error)) from error

    def queue_left(self, request: AnswerRequested) -> None:
        """A turn that may have begun ends without a trace."""
        if isinstance(request, ChatReplyRequested) and request.session is not None and is_named(request):
            self._copies.queue_left(request.org_id, request.session_id, request.request_id)

    async def note_spoken(self, org_id: str, turn: SessionTurn, characters: int, by: SpokenBy) -> SessionTurn:
        """Remember how much of an answer was heard; returns the turn with it. Raises HistoryUnavailable."""
        try:
            await self._copies.note_spoken(org_id, turn.session_id, turn.id, (characters, by))
        except BusUnavailableError as error:
            raise HistoryUnavailable(str(error)) from error
        spoken = ReplySpoken(
            org_id=org_id, session_id=turn.session_id, request_id=turn.id, characters=characters, by=by, at=time.time()
        )
        self._spawn(self._publish(Event(CHAT_REPLY_SPOKEN, spoken).record()), "tell-spoken")
        return turn.model_copy(update={"spoken": characters, "spoken_by": by})

    async def delete(self, org_id: str, session_id: str, request_id: str | None, at: float) -> None:
        """Forget a session or one turn. The fact is on the log before this returns. Raises HistoryUnavailable."""
        gone = SessionDeleted(org_id=org_id, session_id=session_id, request_id=request_id, at=at)
        try:
            await self._facts(Event(CHAT_SESSION_DELETED, gone).record())
            await self._facts(to_forget(org_id, session_id, request_id, at))
            await self._copies.delete(org_id, session_id, request_id, at)
        except BusUnavailableError as error:
            raise HistoryUnavailable(str(error)) from error

    async def _publish(self, record: Record) -> None:
        while True:
            try:
                return await self._facts(record)
            except BusUnavailableError as error:
                log.warning("fact waits for the log", event_id=record.headers["event-id"], error=str(error))
                await asyncio.sleep(1.0)


def _ahead(hot: HotSession, before: float) -> list[float]:
    """When the turns were received that may still run, of those before."""
    now = time.time()
    return [received for received, until in hot.running.values() if received < before and until > now]


def merged(history: SessionHistory, hot: Remembered) -> SessionHistory:
    """What telemetry keeps, with what it has not heard of yet; the live store knows better what was spoken."""
    known = {turn.id: turn for turn in history.turns} | {turn.id: turn for turn in hot.turns}
    turns = sorted(known.values(), key=lambda turn: (turn.received_at, turn.id))
    summary = hot.summary or history.summary
    return history.model_copy(update={"turns": tuple(turns), "cut": history.cut or hot.cut, "summary": summary})
