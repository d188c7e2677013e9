"""Sessions: what is durably kept of conversations, for how long, and who gets to see it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from common.events.chat import ChatReplyEnded
from common.events.reply import Reply
from common.events.session_turns import (
    ReplySpoken,
    SessionDeleted,
    SessionExtension,
    SessionHistory,
    SessionHistoryRequested,
    SessionList,
    SessionListRequested,
    SessionPolicy,
    SessionPolicyRequested,
    StoredTurnRequested,
    TurnFound,
    session_turn,
)
from common.failures import Refused, Unavailable
from telemetry.metrics import SESSIONS_EXPIRED
from telemetry.ports import Sessions

log = structlog.get_logger(__name__)

# How often expired sessions are looked for, and how many go at once: nobody waits behind a long statement.
SWEEP_SECONDS = 60.0
SWEEP_SESSIONS = 500
# What was taken in is written within moments, unless the store is away.
OWED_SECONDS = 2.0
LOOK_SECONDS = 0.005
MAX_OWED = 10_000
AWAY = Refused(503, "Sessions cannot be read at the moment.", "database_unavailable", type="server_error")


class Owed:
    """Facts about sessions that were taken in and are not in the store yet: what is told must not be without them."""

    def __init__(self) -> None:
        self._facts: OrderedDict[tuple[str, str], set[str]] = OrderedDict()

    @contextmanager
    def writing(self, org_id: str, session_id: str, fact: str) -> Iterator[None]:
        """It is owed until the block has ended well; where the store is away, until it is written after all."""
        self._facts.setdefault((org_id, session_id), set()).add(fact)
        while len(self._facts) > MAX_OWED:
            self._facts.popitem(last=False)
        try:
            yield
        except Unavailable:
            raise
        except BaseException:
            self._forget((org_id, session_id), fact)
            raise
        self._forget((org_id, session_id), fact)

    def _forget(self, session: tuple[str, str], fact: str) -> None:
        owed = self._facts.get(session, set())
        owed.discard(fact)
        if not owed:
            self._facts.pop(session, None)

    async def settled(self, org_id: str, session_id: str) -> bool:
        """Whether nothing is owed to a session any more, `OWED_SECONDS` from now at the latest."""
        began = time.monotonic()
        while (org_id, session_id) in self._facts:
            if time.monotonic() - began > OWED_SECONDS:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True


async def keep(end: ChatReplyEnded, sessions: Sessions, owed: Owed) -> None:
    """Keep what the session wants kept of a turn; raises `Unavailable` while the store is away."""
    if (turn := session_turn(end)) is not None:
        with owed.writing(end.org_id, end.session_id, end.request_id):
            await sessions.add(end.org_id, turn)
    if (summary := end.summary) is not None and summary.text:
        with owed.writing(end.org_id, summary.session_id, end.request_id):
            await sessions.keep_summary(end.org_id, summary)


async def extend(added: SessionExtension, sessions: Sessions, owed: Owed) -> None:
    """Keep what was added to a session; raises as `keep`."""
    with owed.writing(added.org_id, added.session_id, added.turn.id):
        await sessions.add(added.org_id, added.turn)


async def note_spoken(spoken: ReplySpoken, sessions: Sessions, owed: Owed) -> None:
    """Keep how much of an answer was heard; raises as `keep`."""
    with owed.writing(spoken.org_id, spoken.session_id, f"spoken {spoken.request_id} {spoken.at}"):
        await sessions.note_spoken(spoken)


async def delete(deleted: SessionDeleted, sessions: Sessions, owed: Owed) -> None:
    """Forget a session or a turn, now and for what comes late; raises as `keep`."""
    with owed.writing(deleted.org_id, deleted.session_id, f"deleted {deleted.request_id} {deleted.at}"):
        await sessions.delete(deleted)


async def history(query: SessionHistoryRequested, sessions: Sessions, owed: Owed) -> Reply[SessionHistory]:
    """200, empty where nothing is kept. Refuses (503) while the store is away, or has not all that happened before."""
    if not await owed.settled(query.org_id, query.session_id):
        raise AWAY
    try:
        return Reply(await sessions.history(query.org_id, query.session_id))
    except Unavailable:
        raise AWAY from None


async def turn_of(query: StoredTurnRequested, sessions: Sessions) -> Reply[TurnFound]:
    """200 or 404. Refuses (503) while the store is away."""
    try:
        turn = await sessions.turn(query.org_id, query.request_id)
    except Unavailable:
        raise AWAY from None
    if turn is None:
        raise Refused(404, f"Nothing is kept of the answer '{query.request_id}'.", "turn_not_found", "id")
    return Reply(TurnFound(turn=turn))


async def page(query: SessionListRequested, sessions: Sessions) -> Reply[SessionList]:
    """200. Refuses (503) while the store is away."""
    try:
        rows = await sessions.page(query)
    except Unavailable:
        raise AWAY from None
    return Reply(SessionList(data=tuple(rows[: query.limit]), has_more=len(rows) > query.limit))


async def policy(asked: SessionPolicyRequested, sessions: Sessions) -> Reply[SessionPolicy]:
    """200 with the days that hold, after they were set where that was asked. Refuses (503) while the store is away."""
    try:
        if asked.days is not None:
            await sessions.set_days(asked.org_id, asked.days or None)
        return Reply(await sessions.policy(asked.org_id))
    except Unavailable:
        raise AWAY from None


async def sweep(sessions: Sessions) -> None:
    """Let go, for ever, of what has expired and of what is too much; while the store is away a little later."""
    while True:
        gone = SWEEP_SESSIONS
        try:
            while gone >= SWEEP_SESSIONS:
                gone = await sessions.expire(SWEEP_SESSIONS)
                SESSIONS_EXPIRED.inc(gone)
        except Unavailable as error:
            log.warning("expired sessions wait for the database", error=str(error))
        await asyncio.sleep(SWEEP_SECONDS)
