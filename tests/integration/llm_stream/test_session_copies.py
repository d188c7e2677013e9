"""Copies of sessions on a real live store: in order, whole or known not to be, bounded, and gone when deleted."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common.bus.live.writer import open_writer
from common.events.session_summary import RollingSummary
from common.events.session_turns import SessionHistory, SessionTurn
from common.storage.redis import open_redis
from common.storage.resp import open_resp
from llm_stream.adapters.redis_sessions import TOTAL, USED, RedisSessions
from tests.support.service import numbered
from tests.support.waiting import eventually

DATABASE = 10


class Store:
    """The copies under test, with whom to look at them."""

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def copies(self, **bounds: int) -> AsyncIterator[RedisSessions]:
        limits = {"session_bytes": 1_000_000, "total_bytes": 10_000_000, "idle_seconds": 3600, **bounds}
        async with open_resp(self.url) as connection, open_writer(self.url) as live:
            self.live = live
            yield RedisSessions(connection, live, **limits)

    async def total(self) -> tuple[int, int]:
        """The bytes that are accounted for, and those of all sessions."""
        async with open_redis(self.url) as redis:
            sessions = [key async for key in redis.scan_iter("sonant:session:*")]
            sizes = [int(await redis.hget(key, "n") or 0) for key in sessions]
            assert await redis.zcard(USED) == len(sessions)
            return int(await redis.get(TOTAL) or 0), sum(sizes)


@pytest.fixture
async def store(valkey_url: str) -> Store:
    url = numbered(valkey_url, DATABASE)
    async with open_redis(url) as redis:
        await redis.flushdb()
    return Store(url)


def turn(number: int, session: str = "s", text: str = "said", **fields: Any) -> SessionTurn:
    told: dict[str, Any] = {
        "id": f"t{number}",
        "session_id": session,
        "outcome": "completed",
        "kept": "full",
        "model": "m",
        "stream": True,
        "received_at": 1_000_000_000.0 + number,
        "finished_at": 1_000_000_001.0 + number,
        "messages": ({"role": "user", "content": "asked", "tool_calls": None},),
        "answer": ({"role": "assistant", "content": text},),
    }
    return SessionTurn(**{**told, **fields})


async def ids(copies: RedisSessions, session: str = "s", org: str = "o") -> list[str]:
    return [each.id for each in (await copies.open(org, session, None)).turns]


async def test_turns_are_there_once_and_in_order_whatever_comes_first(store: Store) -> None:
    async with store.copies() as copies:
        assert await copies.open("o", "s", ("t2", 1_000_000_002.0, time.time() + 60)) is not None
        for number in (3, 1, 2, 3):
            copies.queue_ended("o", turn(number), fresh=False)
        await store.live.settled()
        hot = await copies.open("o", "s", None)
        assert [each.id for each in hot.turns] == ["t1", "t2", "t3"]
        assert hot.turns[0] == turn(1)
        assert (hot.whole, hot.cut, hot.running) == (False, False, {})
        assert await ids(copies, org="other") == []
        total, found = await store.total()
        assert total == found > 0


async def test_a_turn_that_runs_is_known_until_it_ends(store: Store) -> None:
    async with store.copies() as copies:
        until = time.time() + 60
        await copies.open("o", "s", ("t1", 5.0, until))
        assert (await copies.open("o", "s", None)).running == {"t1": (5.0, until)}
        copies.queue_left("o", "s", "t1")
        await store.live.settled()
        assert (await copies.open("o", "s", None)).running == {}


async def test_a_session_that_begins_here_is_whole_and_another_once_it_is_filled(store: Store) -> None:
    async with store.copies() as copies:
        copies.queue_ended("o", turn(1), fresh=True)
        copies.queue_ended("o", turn(5, "old"), fresh=False)
        await store.live.settled()
        assert (await copies.open("o", "s", None)).whole
        assert not (await copies.open("o", "old", None)).whole
        known = tuple(turn(number, "old", "archived", spoken=2, spoken_by="history") for number in (4, 5))
        await copies.note_spoken("o", "old", "t5", (3, "platform"))
        await copies.fill("o", "old", SessionHistory(turns=known, cut=True))
        hot = await copies.open("o", "old", None)
        assert (hot.whole, hot.cut) == (True, True)
        # What the store knew stands: it is newer.
        assert [(each.id, each.answer[0]["content"], each.spoken, each.spoken_by) for each in hot.turns] == [
            ("t4", "archived", 2, "history"),
            ("t5", "said", 3, "platform"),
        ]
        # Nothing is remembered of a session that is not there.
        await copies.note_spoken("o", "nobody", "t1", (3, "platform"))
        await copies.fill("o", "empty", SessionHistory(turns=()))
        assert (await copies.open("o", "empty", None)).whole
        total, found = await store.total()
        assert total == found


async def test_what_is_deleted_is_gone_and_what_comes_late_too(store: Store) -> None:
    async with store.copies() as copies:
        for number in (1, 2, 3):
            copies.queue_ended("o", turn(number), fresh=False)
        await store.live.settled()
        await copies.delete("o", "s", "t2", 1_000_000_009.0)
        assert await ids(copies) == ["t1", "t3"]
        await copies.delete("o", "s", None, 1_000_000_002.5)
        copies.queue_ended("o", turn(2), fresh=False)
        copies.queue_ended("o", turn(1), fresh=False)
        copies.queue_ended("o", turn(4), fresh=False)
        await store.live.settled()
        hot = await copies.open("o", "s", None)
        assert [each.id for each in hot.turns] == ["t3", "t4"]
        assert (hot.whole, hot.deleted_at) == (True, 1_000_000_002.5)
        # Telemetry may not have heard of it yet.
        await copies.fill("o", "s", SessionHistory(turns=(turn(1), turn(2), turn(3), turn(4))))
        assert await ids(copies) == ["t3", "t4"]
        total, found = await store.total()
        assert total == found


async def test_the_oldest_turns_go_where_a_session_is_full(store: Store) -> None:
    async with store.copies(session_bytes=10_000) as copies:
        for number in range(8):
            copies.queue_ended("o", turn(number, text="x" * 2_000), fresh=False)
            await copies.note_spoken("o", "s", f"t{number}", (1, "platform"))
        await store.live.settled()
        hot = await copies.open("o", "s", None)
        assert [each.id for each in hot.turns] == ["t4", "t5", "t6", "t7"]
        assert hot.cut
        # One that is larger than all of a session's room stays until the next one comes.
        copies.queue_ended("o", turn(9, text="x" * 20_000), fresh=False)
        await store.live.settled()
        assert await ids(copies) == ["t9"]
        total, found = await store.total()
        assert total == found


async def test_all_copies_together_are_bounded(store: Store) -> None:
    async with store.copies(total_bytes=50_000) as copies:
        for number in range(60):
            copies.queue_ended("o", turn(number, f"s{number}", "x" * 2_000), fresh=True)
        await store.live.settled()
        total, found = await store.total()
        assert total == found <= 50_000
        assert await ids(copies, "s59") == ["t59"]
        assert await ids(copies, "s0") == []
        assert not (await copies.open("o", "s0", None)).whole
        # What was read last goes last.
    async with store.copies(total_bytes=50_000, idle_seconds=-1) as copies:
        copies.queue_ended("o", turn(1, "new"), fresh=True)
        await store.live.settled()
        total, found = await store.total()
        assert total == found
        assert await ids(copies, "new") == ["t1"]


def notes(asked: float, text: str = "in short", session: str = "s") -> RollingSummary:
    at = 1_000_000_000.0 + asked
    return RollingSummary(session_id=session, messages=2, last="ab", model="m", asked_at=at, text=text, made_at=at)


async def test_the_newest_summary_stands_until_what_it_tells_is_deleted(store: Store) -> None:
    async with store.copies() as copies:

        async def kept() -> str | None:
            await store.live.settled()
            summary = (await copies.open("o", "s", None)).summary
            return None if summary is None else summary.text

        copies.queue_summary(notes(1), "o")
        # Nothing is kept of a session that is not there.
        assert await kept() is None
        for number in (1, 2, 3):
            copies.queue_ended("o", turn(number), fresh=False)
        copies.queue_summary(notes(4, "newer, and longer"), "o")
        copies.queue_summary(notes(3, "older"), "o")
        assert await kept() == "newer, and longer"
        await copies.fill("o", "s", SessionHistory(turns=(turn(1),), summary=notes(2, "archived")))
        assert await kept() == "newer, and longer"
        await copies.delete("o", "s", "t2", 1_000_000_009.0)
        assert await kept() is None
        # It was asked for before, so it may tell what is deleted.
        copies.queue_summary(notes(8), "o")
        assert await kept() is None
        copies.queue_summary(notes(10), "o")
        assert await kept() == "in short"
        await copies.delete("o", "s", None, 1_000_000_011.0)
        copies.queue_summary(notes(11), "o")
        assert await kept() is None
        await copies.fill("o", "empty", SessionHistory(turns=(), summary=notes(2, session="empty")))
        assert (await copies.open("o", "empty", None)).summary == notes(2, session="empty")
        total, found = await store.total()
        assert total == found > 0


async def test_one_at_a_time_is_at_a_summary(store: Store) -> None:
    async with store.copies() as copies:
        assert await copies.begin_summary("o", "s", 0.05)
        assert not await copies.begin_summary("o", "s", 60)
        assert await copies.begin_summary("o", "other", 60)

        async def free() -> bool:
            return await copies.begin_summary("o", "s", 60)

        await eventually(free)
