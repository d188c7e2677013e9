"""Killing the gateway under load: clients see a closed connection, the upstream is closed, no work is orphaned."""

import time

from tests.support.load import End, check_books, kill, load, open_account
from tests.support.sonant import sonant_system
from tests.support.waiting import eventually

KILLS = 2
# A mailbox expires after four seconds, its watcher looks every second; a restarted gateway is noticed sooner.
CLOSED_SECONDS = 8.0


async def test_a_killed_gateway_orphans_nothing_and_is_back_by_itself() -> None:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "20"}) as system:
        account = open_account(system)
        async with load(system, account.key, 12) as brisk, load(system, account.key, 12, "slow") as slow:
            for _ in range(KILLS):
                await slow.all_flow()
                killed_at = time.monotonic()
                ready = await kill(system, "gateway")
                answered = await brisk.serves_again(killed_at)
                print(f"gateway: ready {ready:.2f} s after the kill, first answer after {answered:.2f} s")
            await slow.all_flow()
            brisk.running = slow.running = False
            killed_at = time.monotonic()
            await kill(system, "gateway")
            await eventually(lambda: system.sandbox("stats")["open_streams"] == 0, timeout=CLOSED_SECONDS)
            print(f"upstreams: all closed {time.monotonic() - killed_at:.2f} s after the kill")
        print(f"brisk: {brisk.summary()}\nslow: {slow.summary()}")
        for clients in (brisk, slow):
            clients.check(closed=True)
            assert clients.of(End.CLOSED)
        facts = await check_books(system, account, brisk.outcomes + slow.outcomes)
        cut = [facts[o.marker] for o in slow.of(End.CLOSED) if o.marker in facts]
        lost = [fact for fact in cut if fact.payload.get("receipt", {}).get("reason") == "gateway_lost"]
        assert lost, f"no fact says that the gateway was lost: {[fact.kind for fact in cut]}"
        assert {fact.kind for fact in cut} <= {"interrupted", "completed"}
