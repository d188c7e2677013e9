"""Killing Valkey, log and live channel of the embedded mode, under load: 503 while away, nothing accepted is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sonant_cli.engines import valkey
from tests.support.engines import Running, running
from tests.support.load import Account, End, Load, check_books, load, open_account
from tests.support.sonant import Sonant, sonant_system
from tests.support.waiting import eventually

# Longer than a mailbox lives (4 s) and than frames are kept for an engine that is away (10 s).
OUTAGES = (6.0, 12.0)
# Longer than frames are kept, and than a heartbeat is waited for.
HANG_SECONDS = 24
# What the issue promises after the engine's return.
BACK_SECONDS = 10.0


async def test_requests_fail_clearly_while_valkey_restarts_and_nothing_accepted_is_lost() -> None:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "20"}) as system:
        account = open_account(system)
        async with load(system, account.key, 16) as brisk, load(system, account.key, 8, "slow") as slow:
            for _ in range(3):
                await slow.all_flow()
                killed_at = time.monotonic()
                # Those in flight may all wait for its return; these come while it is away.
                async with load(system, account.key, 4) as newcomers:
                    ready = await kill_valkey(system)
                    answered = await newcomers.serves_again(killed_at)
                brisk.outcomes += newcomers.outcomes
                print(f"valkey: services ready {ready:.2f} s after the kill, first answer after {answered:.2f} s")
        await check_all(system, account, brisk, slow, refused=True)


async def kill_valkey(system: Sonant) -> float:
    """Kill it; the supervisor brings it back. Seconds until the services are ready again."""
    killed_at, former = time.monotonic(), system.kill("valkey")
    await eventually(lambda: system.run()["processes"]["valkey"]["pid"] not in (None, former), timeout=30.0)
    await eventually(lambda: system.ready("gateway", "llm-stream", "telemetry"), timeout=30.0)
    return time.monotonic() - killed_at


async def test_long_outages_and_hangs_of_valkey_are_survived() -> None:
    """Two systems with an engine each, at the same time: most of it is waiting."""
    async with (
        running(valkey) as stopped,
        running(valkey) as hung,
        system_on(stopped) as system,
        system_on(hung, deadline=HANG_SECONDS + 45) as other,
    ):
        async with asyncio.TaskGroup() as both:
            both.create_task(long_outages_are_survived(stopped, system))
            both.create_task(answers_that_were_open_while_it_hung_end_as_their_facts_say(hung, other))


async def long_outages_are_survived(engine: Running, system: Sonant) -> None:
    account = open_account(system)
    async with load(system, account.key, 16) as brisk, load(system, account.key, 8, "slow") as slow:
        for outage in OUTAGES:
            await slow.all_flow()
            await engine.stop()
            # Those in flight wait for its return, so others must come and be refused.
            async with load(system, account.key, 4) as newcomers:
                await asyncio.sleep(outage)
                refused = newcomers.outcomes.copy()
                assert "log" in system.ops("gateway", "/readyz").json()["complaints"]
                await engine.start()
                answered = await newcomers.serves_again(time.monotonic())
            brisk.outcomes += newcomers.outcomes
            assert refused
            assert all(o.refused and o.status == 503 for o in refused), newcomers.summary()
            assert any("was not accepted" in o.detail for o in refused)
            slowest = max(o.ended - o.begun for o in refused)
            print(f"valkey: away {outage} s, slowest 503 {slowest:.2f} s, back {answered:.2f} s after its return")
            assert answered < BACK_SECONDS
    await check_all(system, account, brisk, slow, refused=True)


async def answers_that_were_open_while_it_hung_end_as_their_facts_say(engine: Running, system: Sonant) -> None:
    account = open_account(system)
    async with load(system, account.key, 24, "slow") as slow:
        await slow.all_flow()
        slow.running = False
        with engine.hung():
            async with load(system, account.key, 2) as newcomers:
                await asyncio.sleep(HANG_SECONDS)
                newcomers.running = False
                # Sent and not acknowledged: it may stand on the log.
                assert any("not known whether" in o.detail for o in newcomers.of(End.ERROR))
        slow.outcomes += newcomers.outcomes
        back = time.monotonic()
    print(f"valkey: hung {HANG_SECONDS} s, last end {max(o.ended for o in slow.outcomes) - back:.2f} s after it")
    assert all(o.ended < back + 30 for o in slow.of(End.COMPLETE))
    await check_all(system, account, slow)


@asynccontextmanager
async def system_on(engine: Running, deadline: int = 25) -> AsyncIterator[Sonant]:
    env = {"SONANT_CHAT_DEADLINE": str(deadline), "SONANT_LOG_URL": engine.url, "SONANT_REDIS_URL": engine.url}
    with sonant_system(env=env) as system:
        yield system


async def check_all(system: Sonant, account: Account, *loads: Load, refused: bool = False) -> None:
    outcomes = [outcome for clients in loads for outcome in clients.outcomes]
    for clients in loads:
        print(f"{clients.model}: {clients.summary()}")
        clients.check()
        assert clients.of(End.COMPLETE)
    assert not refused or any(o.refused for o in outcomes), "no request met the outage"
    await check_books(system, account, outcomes)
