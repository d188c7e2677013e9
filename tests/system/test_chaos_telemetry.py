"""Killing telemetry under load: chat does not notice, and every turn is counted once afterwards."""

from tests.support.load import End, check_books, kill, load, open_account
from tests.support.sonant import sonant_system

KILLS = 3


async def test_usage_is_exact_after_telemetry_was_killed_under_load() -> None:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "20"}) as system:
        account = open_account(system)
        async with load(system, account.key, 12) as brisk:
            for _ in range(KILLS):
                await brisk.all_flow()
                print(f"telemetry: ready {await kill(system, 'telemetry'):.2f} s after the kill")
        print(f"brisk: {brisk.summary()}")
        brisk.check()
        assert len(brisk.of(End.COMPLETE)) == len(brisk.outcomes), brisk.summary()
        await check_books(system, account, brisk.outcomes)
