"""API keys while their database is away, or answers and is of no use."""

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from common.failures import StoreUnavailableError
from gateway.keys import known_keys
from sonant_cli.engines import postgres
from tests.support.engines import running
from tests.support.keys import CHAT, Fleet, Operated, pool_on, refusal
from tests.support.waiting import eventually


async def test_with_the_database_away_known_keys_work_and_others_get_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_keys, "FRESH_SECONDS", 0.0)
    async with running(postgres) as engine, pool_on(engine.url) as pool:
        keys = Fleet(pool).members[0]
        known, other = [await keys.create(name, "acme", CHAT) for name in ("known", "other")]
        await keys.authenticate(known.key)
        await engine.stop()
        assert (await keys.authenticate(known.key)).key_id == known.record.id
        error = await refusal(keys.authenticate(other.key))
        assert (error.status, error.headers["retry-after"]) == (503, "1")
        await keys.flush()
        monkeypatch.setattr(known_keys, "STALE_SECONDS", 0.0)
        monkeypatch.setattr(known_keys, "AWAY_SECONDS", 0.0)
        keys._known._known[known.record.id].fresh_until = 0.0
        assert (await refusal(keys.authenticate(known.key))).status == 503
        await engine.start()
        for issued in (known, other):
            await keys.authenticate(issued.key)
        await keys.close()


READ_ONLY = (
    ["ALTER DATABASE {name} SET default_transaction_read_only = on"],
    ["SET default_transaction_read_only = off", "ALTER DATABASE {name} RESET default_transaction_read_only"],
)
# What may be done to a server that answers all the same, and how it ends.
STATES = {
    "read-only": READ_ONLY,
    "another password": (["ALTER ROLE {name} PASSWORD 'left'"], ["ALTER ROLE {name} PASSWORD 'right'"]),
    "no login": (["ALTER ROLE {name} NOLOGIN"], ["ALTER ROLE {name} LOGIN"]),
    "statements given up": (
        ["ALTER DATABASE {name} SET statement_timeout = 50", "BEGIN", "LOCK TABLE gateway.api_keys"],
        ["ROLLBACK", "ALTER DATABASE {name} RESET statement_timeout"],
    ),
}


@pytest.mark.parametrize("state", STATES)
async def test_a_database_that_answers_and_is_of_no_use_is_as_good_as_away(
    operated: Operated, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(known_keys, "FRESH_SECONDS", 0.0)
    begun, ended = STATES[state]
    async with pool_on(operated.url) as pool:
        keys = Fleet(pool).members[0]
        issued = await keys.create("app", "acme", CHAT)
        await keys.authenticate(issued.key)
        await operated.undergo(begun)
        assert (await keys.authenticate(issued.key)).key_id == issued.record.id
        await keys.flush()
        with pytest.raises(StoreUnavailableError):
            await keys.create("other", "acme", CHAT)
        await operated.undergo(ended)

        async def written() -> bool:
            await keys.flush()
            with suppress(StoreUnavailableError):
                return (await keys.list("acme", 1))[0][0].last_used_at is not None
            return False

        await eventually(written)


async def test_nobody_waits_while_a_key_in_use_is_looked_up_again(
    operated: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "AHEAD_SECONDS", known_keys.FRESH_SECONDS)
    async with pool_on(operated.url) as pool:
        keys = Fleet(pool).members[0]
        issued = await keys.create("app", "acme", CHAT)
        await keys.authenticate(issued.key)
        entry = keys._known._known[issued.record.id]
        async with operated.operator.transaction():
            await operated.operator.execute("LOCK TABLE gateway.api_keys")
            for _ in range(3):
                assert (await keys.authenticate(issued.key)).key_id == issued.record.id
            # It is being looked up all the same, once: that waits for the table.
            assert len(keys._known._lookups._flights) == 1
            assert keys._known._known[issued.record.id] is entry

        async def read_again() -> bool:
            return keys._known._known[issued.record.id].read_at > entry.read_at

        await eventually(read_again)
        await keys.close()


async def test_a_start_on_a_read_only_database_waits_until_it_is_written_to(operated: Operated) -> None:
    begun, ended = READ_ONLY
    await operated.undergo(begun)
    async with AsyncExitStack() as stack:
        opening = asyncio.create_task(stack.enter_async_context(pool_on(operated.url)))
        assert not (await asyncio.wait({opening}, timeout=1.0))[0]
        await operated.undergo(ended)
        assert await (await opening).fetchval("SELECT count(*) FROM gateway.api_keys") == 0
