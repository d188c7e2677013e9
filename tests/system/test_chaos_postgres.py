"""Killing PostgreSQL under load: chat goes on, since no answer needs it, and usage is exact once it is back."""

import time

from tests.support.load import End, check_books, load, open_account
from tests.support.sonant import sonant_system
from tests.support.waiting import eventually

KILLS = 2


async def test_chat_goes_on_without_the_database_and_usage_is_exact_afterwards() -> None:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "20"}) as system:
        account = open_account(system)
        async with load(system, account.key, 12) as brisk:
            for _ in range(KILLS):
                await eventually(lambda: len(brisk.of(End.COMPLETE)) >= 50, timeout=20.0)
                killed_at = time.monotonic()
                former = system.kill("postgres")
                answered = await brisk.serves_again(killed_at)
                await eventually(lambda: system.run()["processes"]["postgres"]["pid"] not in (None, former))  # noqa: B023
                await eventually(lambda: system.ready("gateway", "llm-stream", "telemetry"), timeout=30.0)
                ready = time.monotonic() - killed_at
                print(f"postgres: next answer {answered:.2f} s after the kill, all ready after {ready:.2f} s")
        print(f"brisk: {brisk.summary()}")
        brisk.check()
        assert len(brisk.of(End.COMPLETE)) == len(brisk.outcomes), brisk.summary()
        await check_books(system, account, brisk.outcomes)
