"""Changes of keys on a real database: they hold everywhere though announcements are lost, and happen once."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from common.bus.port import BusUnavailableError
from common.failures import Refused
from common.kernel.tasks import Tasks
from common.storage.postgres import Pool, open_postgres
from gateway.adapters.postgres_keys import PostgresKeys
from gateway.chat.open_streams import OpenStreams
from gateway.chat.revocation import Revocation
from gateway.chat.stream import Stream
from gateway.keys.keyring import Keys, keeper
from tests.support.keys import CHAT, MIGRATIONS
from tests.support.waiting import eventually

LOST_SECONDS = 1.0


async def lost(_: str) -> None:
    raise BusUnavailableError("away")


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with open_postgres(postgres_url, size=4, migrations=MIGRATIONS, schema="gateway") as opened:
        yield opened


@pytest.fixture
async def gateways(pool: Pool) -> AsyncIterator[list[Keys]]:
    """Two processes whose announcements are all lost."""
    tasks = Tasks()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(keeper(PostgresKeys(pool), lost, tasks)) for _ in range(2)]
    await tasks.close()


async def refused(keys: Keys, key: str) -> bool:
    try:
        await keys.authenticate(key)
    except Refused as error:
        return error.status == 401
    return False


@pytest.mark.parametrize("how", ["revoke", "rotate"])
async def test_a_change_holds_everywhere_within_a_second_though_its_announcement_is_lost(
    gateways: list[Keys], how: str
) -> None:
    here, there = gateways
    issued = await here.create("app", "acme", CHAT)
    await there.authenticate(issued.key)
    started = time.monotonic()
    if how == "revoke":
        await here.revoke(issued.record.id)
    else:
        await here.rotate(issued.record.id, 0)
    assert await refused(here, issued.key)

    async def holds() -> bool:
        return await refused(there, issued.key)

    await eventually(holds, timeout=LOST_SECONDS)
    print(f"held after {time.monotonic() - started:.2f} s")


class Woken:
    def wake(self) -> None:
        pass


async def test_the_answers_of_a_revoked_key_end_and_those_of_others_and_of_an_overlap_do_not(
    gateways: list[Keys],
) -> None:
    here, there = gateways
    tasks, opened = Tasks(), OpenStreams()
    there.on_change(Revocation(there.live, opened, tasks).on_changed)
    issued = [await here.create("app", "acme", CHAT) for _ in range(3)]
    streams = []
    for key in issued:
        name = f"chatcmpl-{secrets.token_hex(16)}"
        stream = Stream(name, "acme", "s", cast("Any", Woken()), time.time(), key_id=key.record.id)
        opened.add(stream)
        streams.append(stream)
    await here.revoke(issued[0].record.id)
    await here.rotate(issued[1].record.id, 3600)
    await eventually(lambda: streams[0].stopped, timeout=LOST_SECONDS)
    await asyncio.sleep(0.6)
    assert [(stream.stopped, stream.revoked) for stream in streams] == [(True, True), (False, False), (False, False)]
    await tasks.close()


async def test_one_request_makes_one_key_whatever_became_of_its_answer(gateways: list[Keys], pool: Pool) -> None:
    here, there = gateways
    org, name = f"org-{secrets.token_hex(4)}", secrets.token_bytes(32)
    outcomes = await asyncio.gather(
        *(gateways[n % 2].create("app", org, CHAT, made_by=name) for n in range(8)), return_exceptions=True
    )
    [made] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Refused)
            assert (outcome.status, outcome.code) == (409, "already_created")
            assert made.record.id in outcome.message
    assert len((await here.list(org, 10))[0]) == 1
    # A day later the name is free again.
    await pool.execute("UPDATE gateway.api_keys SET created_at = now() - interval '25 hours' WHERE made_by = $1", name)
    again = await there.create("app", org, CHAT, made_by=name)
    assert again.record.id != made.record.id


async def test_a_rotation_that_is_repeated_after_a_crash_names_the_key_it_made(gateways: list[Keys]) -> None:
    here, there = gateways
    old, name = await here.create("app", "acme", CHAT), secrets.token_bytes(32)
    new = await here.rotate(old.record.id, 60, made_by=name)
    with pytest.raises(Refused) as error:
        await there.rotate(old.record.id, 60, made_by=name)
    assert (error.value.status, error.value.code) == (409, "already_created")
    assert new.record.id in error.value.message
