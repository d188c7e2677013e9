"""Killing llm-stream under load: every request ends in a whole answer or an explicit error, and the books agree."""

import time

from tests.support.load import End, check_books, kill, load, open_account
from tests.support.sonant import sonant_system

KILLS = 3


async def test_every_request_ends_and_the_books_agree_when_llm_stream_is_killed() -> None:
    with sonant_system(env={"SONANT_CHAT_DEADLINE": "20"}) as system:
        account = open_account(system)
        async with load(system, account.key, 20) as brisk, load(system, account.key, 8, "slow") as slow:
            for _ in range(KILLS):
                await slow.all_flow()
                killed_at = time.monotonic()
                ready = await kill(system, "llm-stream")
                answered = await brisk.serves_again(killed_at)
                print(f"llm-stream: ready {ready:.2f} s after the kill, first answer after {answered:.2f} s")
        print(f"brisk: {brisk.summary()}\nslow: {slow.summary()}")
        for clients in (brisk, slow):
            clients.check()
            assert clients.of(End.COMPLETE)
        facts = await check_books(system, account, brisk.outcomes + slow.outcomes)
        assert any(fact.kind == "failed" for fact in facts.values()), "nothing was in flight at any kill"
