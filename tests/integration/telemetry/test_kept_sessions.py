"""What telemetry keeps of sessions: once, in order, bounded, until it expires or is deleted."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from common.events.chat import CHAT_EVENTS, CHAT_REPLY_COMPLETED, ChatReplyCompleted, KeptTexts
from common.events.envelope import Event
from common.events.session_summary import RollingSummary
from common.events.session_turns import (
    CHAT_REPLY_SPOKEN,
    CHAT_SESSION_DELETED,
    CHAT_SESSION_EXTENDED,
    SESSION_HISTORY_REQUESTED,
    SESSION_LIST_REQUESTED,
    SESSION_POLICY_REQUESTED,
    STORED_TURN_REQUESTED,
    ReplySpoken,
    SessionDeleted,
    SessionExtension,
    SessionHistoryRequested,
    SessionListRequested,
    SessionPlace,
    SessionPolicyRequested,
    SessionTurn,
    StoredTurnRequested,
)
from tests.support.mailbox import open_mailbox
from tests.support.service import FakeGateway, World, process_of
from tests.support.telemetry import completed
from tests.support.waiting import eventually

ORG = "org-1"


def turn(number: int, session: str = "s", text: str = "said", *, age: float = 0.0, **kept: Any) -> Event[Any]:
    """A fact about a turn whose texts are kept."""
    at = time.time() - age
    texts = KeptTexts(
        mode="full",
        messages=({"role": "user", "content": f"asked {number}"},),
        answer=({"role": "assistant", "content": text},),
        **kept,
    )
    times = {"received_at": at, "started_at": at, "first_token_at": at, "finished_at": at + 0.5}
    fact: Event[ChatReplyCompleted] = completed(number, session_id=session, kept=texts, user_id="u", **times)
    return Event(CHAT_REPLY_COMPLETED, fact.payload)


class Asker(FakeGateway):
    """A gateway that asks about sessions."""

    async def history(self, session: str = "s", org_id: str = ORG) -> Any:
        asked = SessionHistoryRequested(org_id=org_id, session_id=session)
        [reply] = await self.deliver(Event(SESSION_HISTORY_REQUESTED, asked))
        return reply.body

    async def ids(self, session: str = "s", org_id: str = ORG) -> list[str]:
        return [each["id"] for each in (await self.history(session, org_id))["turns"]]

    async def turn(self, number: int, org_id: str = ORG) -> int:
        asked = StoredTurnRequested(org_id=org_id, request_id=f"req-{number}")
        [reply] = await self.deliver(Event(STORED_TURN_REQUESTED, asked))
        return reply.status

    async def page(self, limit: int = 100, after: SessionPlace | None = None, **fields: Any) -> Any:
        asked = SessionListRequested(**{"org_id": ORG, "limit": limit, "after": after, **fields})
        [reply] = await self.deliver(Event(SESSION_LIST_REQUESTED, asked))
        return reply.body

    async def policy(self, days: int | None = None, org_id: str = ORG) -> Any:
        asked = SessionPolicyRequested(org_id=org_id, days=days)
        [reply] = await self.deliver(Event(SESSION_POLICY_REQUESTED, asked))
        return reply.body


@asynccontextmanager
async def asking(world: World, **settings: str) -> AsyncIterator[Asker]:
    """Telemetry with these settings, and one who asks it."""
    variables = {
        "SONANT_LOG_URL": world.log_url,
        "SONANT_REDIS_URL": world.redis_url,
        "SONANT_DATABASE_URL": world.database_url,
        **{f"SONANT_{name.upper()}": value for name, value in settings.items()},
    }
    async with process_of("telemetry", world.output / "telemetry.log", variables) as telemetry:
        await telemetry.ready()
        async with open_mailbox(world.redis_url) as reader:
            yield Asker(world, reader)


async def read(world: World, *facts: Event[Any]) -> None:
    """Publish facts, and wait until they are handled."""
    await world.publish(*facts)
    await world.handled(CHAT_EVENTS, "telemetry")


async def test_a_session_keeps_its_turns_once_and_in_order(world: World) -> None:
    async with asking(world) as asker:
        turns = [turn(number, age=100 - number) for number in range(1, 6)]
        await read(world, *reversed(turns), *turns)
        assert await asker.ids() == [f"req-{number}" for number in range(1, 6)]
        history = await asker.history()
        assert history["turns"][0]["answer"] == [{"role": "assistant", "content": "said"}]
        [row] = (await asker.page())["data"]
        assert (row["id"], row["turns"], row["user_id"]) == ("s", 5, "u")
        assert row["bytes"] > 5 * 100
        assert (await asker.turn(3), await asker.turn(9), await asker.turn(3, "org-2")) == (200, 404, 404)
        assert await asker.ids(org_id="org-2") == []
        assert (await asker.page(org_id="org-2"))["data"] == []


async def test_what_was_heard_is_told_whichever_comes_first(world: World) -> None:
    async with asking(world) as asker:
        now = time.time()
        heard = {"org_id": ORG, "session_id": "s"}
        early = Event(CHAT_REPLY_SPOKEN, ReplySpoken(**heard, request_id="req-1", characters=2, by="platform", at=now))
        late = Event(
            CHAT_REPLY_SPOKEN, ReplySpoken(**heard, request_id="req-1", characters=1, by="history", at=now - 9)
        )
        await read(world, early, late)
        await read(world, turn(1), turn(2))
        spoken = [(each.get("spoken"), each.get("spoken_by")) for each in (await asker.history())["turns"]]
        assert spoken == [(2, "platform"), (None, None)]


async def test_a_deleted_session_takes_in_nothing_that_comes_late(world: World) -> None:
    async with asking(world) as asker:
        await read(world, turn(1, age=50), turn(2, "other"))
        gone = SessionDeleted(org_id=ORG, session_id="s", at=time.time() - 10)
        await read(world, Event(CHAT_SESSION_DELETED, gone))
        assert await asker.ids() == []
        await read(world, turn(3, age=20), turn(4, age=0))
        assert await asker.ids() == ["req-4"]
        assert [(row["id"], row["turns"]) for row in (await asker.page())["data"]] == [("s", 1), ("other", 1)]
        # One turn by itself, known or not yet.
        for number in (4, 5):
            one = SessionDeleted(org_id=ORG, session_id="s", request_id=f"req-{number}", at=time.time())
            await read(world, Event(CHAT_SESSION_DELETED, one))
        await read(world, turn(5), turn(6))
        assert await asker.ids() == ["req-6"]
        assert await asker.ids("other") == ["req-2"]


def summed_up(number: int, text: str, *, age: float) -> Event[Any]:
    """The fact about the turn that summed the session `s` up."""
    at = time.time() - age
    made = RollingSummary(session_id="s", messages=2, last="ab", model="m", asked_at=at, text=text, made_at=at)
    fact: Event[ChatReplyCompleted] = completed(number, session_id=f"req-{number}", summary=made, finished_at=at)
    return Event(CHAT_REPLY_COMPLETED, fact.payload)


async def test_the_newest_summary_is_kept_until_what_it_tells_is_deleted(world: World) -> None:
    async with asking(world) as asker:

        async def kept() -> str | None:
            summary = (await asker.history()).get("summary")
            return None if summary is None else str(summary["text"])

        await read(world, summed_up(90, "older", age=50), turn(1, age=100), summed_up(91, "newer\0", age=40))
        await read(world, summed_up(92, "between", age=45), summed_up(93, "", age=1))
        assert await kept() == "newer\ufffd"
        assert [row["turns"] for row in (await asker.page())["data"]] == [1]
        one = SessionDeleted(org_id=ORG, session_id="s", request_id="req-2", at=time.time() - 20)
        await read(world, Event(CHAT_SESSION_DELETED, one), summed_up(94, "late", age=30))
        assert await kept() is None
        await read(world, summed_up(95, "after", age=10))
        assert await kept() == "after"
        await read(world, Event(CHAT_SESSION_DELETED, SessionDeleted(org_id=ORG, session_id="s", at=time.time() - 5)))
        await read(world, summed_up(96, "late", age=8), turn(3))
        assert await kept() is None


async def test_what_nobody_has_answered_is_kept_like_a_turn_and_costs_nothing(world: World) -> None:
    async with asking(world) as asker:
        at = time.time()
        added = SessionTurn(
            id="req-7",
            session_id="s",
            outcome="completed",
            kept="full",
            model="",
            stream=False,
            received_at=at,
            finished_at=at,
            messages=({"role": "user", "content": "added"},),
        )
        fact = Event(CHAT_SESSION_EXTENDED, SessionExtension(org_id=ORG, session_id="s", at=at, turn=added))
        await read(world, fact, fact)
        [kept] = (await asker.history())["turns"]
        assert (kept["id"], kept["messages"]) == ("req-7", [{"role": "user", "content": "added"}])
        assert await asker.turn(7) == 200


async def test_the_oldest_turns_go_where_a_session_is_full(world: World) -> None:
    async with asking(world, session_bytes=str(64 * 1024)) as asker:
        await read(world, *(turn(number, text="x" * 10_000, age=60 - number) for number in range(12)))
        history = await asker.history()
        assert history["cut"] is True
        assert [each["id"] for each in history["turns"]] == [f"req-{number}" for number in range(6, 12)]
        [row] = (await asker.page())["data"]
        assert row["bytes"] <= 64 * 1024
        assert row["turns"] == 6


async def test_sessions_expire_as_their_organisation_says(world: World) -> None:
    day = 24 * 3600.0
    async with asking(world, session_days="3") as asker:
        assert await asker.policy() == {"days": 3, "own": False}
        assert await asker.policy(10) == {"days": 10, "own": True}
        await read(world, turn(1, age=5 * day), turn(2, "new"), turn(3, "older", age=11 * day))
        assert [row["id"] for row in (await asker.page())["data"]] == ["new", "s"]
        assert await asker.ids("older") == []
        assert await asker.policy(0) == {"days": 3, "own": False}
        assert [row["id"] for row in (await asker.page())["data"]] == ["new"]
        assert (await asker.ids(), await asker.turn(1)) == ([], 404)
    # What nobody may see any more goes at the next start, at the latest.
    async with asking(world, session_days="3"):

        async def swept() -> bool:
            rows = await world.fetch("SELECT session_id FROM telemetry.session_turns")
            return [row["session_id"] for row in rows] == ["new"]

        await eventually(swept)


async def test_an_organisation_keeps_so_many_sessions(world: World) -> None:
    async with asking(world) as asker:
        await read(world, *(turn(number, f"s-{number}", age=60 - number) for number in range(6)))
        assert len((await asker.page())["data"]) == 6
    async with asking(world, organization_sessions="4") as asker:

        async def left() -> bool:
            return [row["id"] for row in (await asker.page())["data"]] == ["s-5", "s-4", "s-3", "s-2"]

        await eventually(left)
        first = await asker.page(limit=3)
        assert first["has_more"] is True
        last = first["data"][-1]
        second = await asker.page(limit=3, after=SessionPlace(updated_at=last["updated_at"], id=last["id"]))
        assert ([row["id"] for row in second["data"]], second["has_more"]) == (["s-2"], False)


async def test_odd_texts_are_kept_and_hold_nobody_up(world: World) -> None:
    async with asking(world) as asker:
        odd = turn(1, text='\x00 {"\\u0000"} \ud800 \U0001f600')
        await read(world, odd, turn(2, "t" * 190, text=""), turn(3))
        assert set(await asker.ids()) == {"req-1", "req-3"}
        assert await asker.ids("t" * 190) == ["req-2"]
        assert await world.dead_letters(CHAT_EVENTS) == []
