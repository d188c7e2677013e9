"""What sessions remember, in the memory of a test: both stores behind it, for turns without a process."""

import asyncio
from collections import defaultdict

from common.events.session_summary import RollingSummary
from common.events.session_turns import SessionHistory, SessionTurn
from llm_stream.history.session_memory import Put, SessionMemory
from llm_stream.history.session_notes import Mode
from llm_stream.ports import HotSession


class Copies:
    """The port `SessionCopies`."""

    def __init__(self) -> None:
        self.turns: dict[tuple[str, str], dict[str, SessionTurn]] = defaultdict(dict)
        self.heard: dict[str, tuple[int, str]] = {}
        self.running: dict[str, tuple[float, float]] = {}
        self.summaries: dict[tuple[str, str], RollingSummary] = {}
        self.summing: set[tuple[str, str]] = set()

    async def open(self, org_id: str, session_id: str, running: tuple[str, float, float] | None) -> HotSession:
        if running is not None:
            self.running[running[0]] = running[1:]
        turns = sorted(self.turns[org_id, session_id].values(), key=lambda turn: turn.received_at)
        told = tuple(self._with_heard(turn) for turn in turns)
        return HotSession(told, whole=True, running=self.running, summary=self.summaries.get((org_id, session_id)))

    def _with_heard(self, turn: SessionTurn) -> SessionTurn:
        if (heard := self.heard.get(turn.id)) is None:
            return turn
        return turn.model_copy(update={"spoken": heard[0], "spoken_by": heard[1]})

    def queue_ended(self, org_id: str, turn: SessionTurn, *, fresh: bool) -> None:
        del fresh
        self.running.pop(turn.id, None)
        self.turns[org_id, turn.session_id][turn.id] = SessionTurn.model_validate_json(turn.model_dump_json())

    def queue_left(self, org_id: str, session_id: str, request_id: str) -> None:
        del org_id, session_id
        self.running.pop(request_id, None)

    def queue_summary(self, summary: RollingSummary, org_id: str) -> None:
        self.summaries[org_id, summary.session_id] = summary

    async def begin_summary(self, org_id: str, session_id: str, seconds: float) -> bool:
        del seconds
        first = (org_id, session_id) not in self.summing
        self.summing.add((org_id, session_id))
        return first

    async def fill(self, org_id: str, session_id: str, history: SessionHistory) -> None:
        raise NotImplementedError

    async def note_spoken(self, org_id: str, session_id: str, request_id: str, heard: tuple[int, str]) -> None:
        del org_id, session_id
        self.heard[request_id] = heard

    async def delete(self, org_id: str, session_id: str, request_id: str | None, at: float) -> None:
        raise NotImplementedError

    async def ended_turn(self, request_id: str) -> bytes | None:
        del request_id
        return None


class Archive:
    """The port `SessionArchive`, with nothing in it."""

    async def history(self, org_id: str, session_id: str) -> SessionHistory:
        del org_id, session_id
        return SessionHistory(turns=())

    async def turn(self, org_id: str, request_id: str) -> SessionTurn | None:
        del org_id, request_id
        return None


def memory_of(copies: Copies, facts: Put, *, most: Mode = "full", turn_bytes: int = 256 * 1024) -> SessionMemory:
    """A memory on these copies alone."""
    return SessionMemory(
        copies,
        Archive(),
        facts,
        lambda work, name: asyncio.create_task(work, name=name),
        most=most,
        turn_bytes=turn_bytes,
    )
