"""`python -m tests.bench.webhook_chaos`: a receiver that fails half of the time while media is killed again and again.

Messages go to an endpoint whose receiver refuses every other try by chance and answers slowly, so that a kill finds
deliveries between their claim and their settling. In the end each message was taken at least once, or is listed as
failed. It fails where one is neither, and prints how many came more than once.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from typing import Any

import httpx

from tests.support.clients import client, new_key
from tests.support.load import kill
from tests.support.sonant import sonant_system
from tests.support.waiting import eventually
from tests.support.webhook_sink import Sink, webhook_sink

SETTINGS = {
    "SONANT_WEBHOOK_NETWORKS": "127.0.0.0/8",
    # Twelve tries within half a minute: one message in 4,096 is refused by all of them.
    "SONANT_WEBHOOK_DELAYS": ",".join(["0.5", "1", "1", "2", "2", "3", "3", "3", "4", "4", "5"]),
}
SETTLED_SECONDS = 600.0
PAUSE_SECONDS = 0.05


async def send(caller: httpx.AsyncClient, endpoint_id: str, sent: dict[str, str], enough: asyncio.Event) -> None:
    """Ask for messages one after the other, each until it is accepted."""
    while not enough.is_set():
        try:
            answer = await caller.post(f"/v1/webhooks/endpoints/{endpoint_id}/test")
        except httpx.TransportError:
            continue
        if answer.status_code == 202:
            sent[answer.json()["id"]] = answer.json()["message_id"]
        await asyncio.sleep(PAUSE_SECONDS)


async def states(caller: httpx.AsyncClient, sent: dict[str, str]) -> Counter[str]:
    """What became of the deliveries."""
    found: Counter[str] = Counter()
    for id in sent:
        delivery: dict[str, Any] = (await caller.get(f"/v1/webhooks/deliveries/{id}")).json()
        found[delivery["state"]] += 1
    return found


async def run(messages: int, kills: int) -> None:
    """Drive it once."""
    began = time.monotonic()
    async with webhook_sink() as sink:
        with sonant_system(env=SETTINGS) as system:
            key = new_key(system, scopes=["media"])
            async with client(system.url, key.headers) as caller:
                made = await caller.post("/v1/webhooks/endpoints", json={"url": f"{sink.url}/coin"})
                assert made.status_code == 201, made.text
                sent, enough = dict[str, str](), asyncio.Event()
                sending = [asyncio.create_task(send(caller, made.json()["id"], sent, enough)) for _ in range(4)]
                for number in range(kills):
                    due = messages * (number + 1) // (kills + 1)
                    await eventually(lambda: len(sent) >= due, timeout=SETTLED_SECONDS)  # noqa: B023
                    await kill(system, "media")
                await eventually(lambda: len(sent) >= messages, timeout=SETTLED_SECONDS)
                enough.set()
                await asyncio.gather(*sending)
                print(f"{len(sent)} messages over {kills} kills of media in {time.monotonic() - began:.0f} s")
                await check(caller, sink, sent)


async def check(caller: httpx.AsyncClient, sink: Sink, sent: dict[str, str]) -> None:
    """Every message has come, or is listed as failed."""
    until = time.monotonic() + SETTLED_SECONDS
    while (found := await states(caller, sent))["pending"]:
        assert time.monotonic() < until, found
        await asyncio.sleep(1.0)
    twice = sum(times > 1 for times in sink.taken.values())
    tries = Counter(each.id for each in sink.of("coin"))
    print(f"{dict(found)}; taken {len(sink.taken)}, {twice} of them more than once; {tries.total()} tries in all")
    missing = [id for id, message_id in sent.items() if message_id not in sink.taken]
    for id in missing:
        state = (await caller.get(f"/v1/webhooks/deliveries/{id}")).json()["state"]
        assert state == "failed", f"{id} is {state}, and never came"
    print(f"{len(missing)} never came, and are listed as failed; nothing is lost")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    asyncio.run(run(options.messages, options.kills))


if __name__ == "__main__":
    main()
