"""API keys on a real database: issued, checked, revoked, rotated, listed."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from common.failures import Refused
from common.storage.postgres import Pool
from gateway.ports import KeyLimits
from tests.support.keys import CHAT, Fleet, refusal
from tests.support.waiting import eventually


async def test_a_key_opens_with_its_rights_and_its_text_is_nowhere_in_the_database(fleet: Fleet, pool: Pool) -> None:
    limits = KeyLimits(requests_per_minute=5, concurrent_streams=2)
    issued = await fleet.members[0].create("app", "acme", CHAT, limits)
    caller = await fleet.members[1].authenticate(issued.key)
    assert (caller.org_id, caller.key_id, caller.scopes, caller.limits) == ("acme", issued.record.id, CHAT, limits)
    secret = issued.key.split("-", 3)[3]
    rows = await pool.fetch("SELECT k::text AS text FROM gateway.api_keys AS k")
    assert rows
    assert not [row for row in rows if secret in row["text"]]


@pytest.mark.parametrize(
    "key", ["", "sk-other", "sk-sonant-" + "x" * 12 + "-" + "y" * 43, "é" * 60, "\x00", "x" * 9999]
)
async def test_what_is_no_key_of_ours_is_refused_alike(fleet: Fleet, key: str) -> None:
    error = await refusal(fleet.members[0].authenticate(key))
    assert (error.status, error.code, error.message) == (401, "invalid_api_key", "Incorrect API key provided.")


async def test_the_right_id_with_another_secret_is_refused(fleet: Fleet) -> None:
    issued = await fleet.members[0].create("app", "acme", CHAT)
    wrong = issued.key[:-1] + ("A" if issued.key[-1] != "A" else "B")
    assert (await refusal(fleet.members[0].authenticate(wrong))).status == 401


async def test_known_and_unknown_keys_are_asked_about_once_however_many_come(fleet: Fleet) -> None:
    keys, store = fleet.members[0], fleet.stores[0]
    issued = await keys.create("app", "acme", CHAT)
    await asyncio.gather(*(keys.authenticate(issued.key) for _ in range(100)))
    assert store.asked == 1
    unknown = "sk-sonant-" + "u" * 12 + "-" + "y" * 43
    refusals = await asyncio.gather(*(refusal(keys.authenticate(unknown)) for _ in range(100)))
    assert {error.status for error in refusals} == {401}
    assert store.asked == 2


async def test_invented_keys_keep_nobody_with_a_key_waiting(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    # So each request looks the key up again.
    monkeypatch.setattr("gateway.keys.known_keys.FRESH_SECONDS", 0.0)
    keys = fleet.members[0]
    issued = await keys.create("app", "acme", CHAT)
    await keys.authenticate(issued.key)
    invented = [f"sk-sonant-{number:012}-{'y' * 43}" for number in range(1_000)]
    flood = [asyncio.create_task(refusal(keys.authenticate(key))) for key in invented]
    await asyncio.sleep(0)
    for _ in range(10):
        assert (await keys.authenticate(issued.key)).org_id == "acme"
    assert sum(task.done() for task in flood) < len(flood) / 2
    assert {error.status for error in await asyncio.gather(*flood)} == {401}


async def test_one_who_leaves_does_not_end_the_lookup_for_the_others(fleet: Fleet) -> None:
    keys, store = fleet.members[0], fleet.stores[0]
    issued = await keys.create("app", "acme", CHAT)
    store.held.clear()
    first, second = (asyncio.create_task(keys.authenticate(issued.key)) for _ in range(2))
    await eventually(lambda: store.asked)
    first.cancel()
    store.held.set()
    assert (await second).key_id == issued.record.id
    assert store.asked == 1


async def test_a_revoked_key_ends_at_once_in_every_process(fleet: Fleet) -> None:
    issued = await fleet.members[0].create("app", "acme", CHAT)
    for keys in fleet.members:
        await keys.authenticate(issued.key)
    revoked = await fleet.members[0].revoke(issued.record.id, "acme")
    assert revoked.revoked_at is not None
    for keys in fleet.members:
        assert (await refusal(keys.authenticate(issued.key))).message == "This API key was revoked."
    again = await fleet.members[1].revoke(issued.record.id)
    assert again.revoked_at == revoked.revoked_at


async def test_a_lookup_overtaken_by_a_revocation_is_not_kept(fleet: Fleet) -> None:
    # The lookup read the key before it was revoked and answers after the eviction.
    keys, store = fleet.members[0], fleet.stores[0]
    issued = await keys.create("app", "acme", CHAT)
    store.held.clear()
    early = asyncio.create_task(keys.authenticate(issued.key))
    await eventually(lambda: store.asked)
    await asyncio.sleep(0.05)
    await fleet.members[1].revoke(issued.record.id)
    store.held.set()
    await asyncio.gather(early, return_exceptions=True)
    assert (await refusal(keys.authenticate(issued.key))).status == 401


async def test_an_expired_key_is_refused(fleet: Fleet) -> None:
    issued = await fleet.members[0].create("app", "acme", CHAT, expires_in=0.5)
    await fleet.members[0].authenticate(issued.key)

    async def expired() -> bool:
        await asyncio.sleep(0)
        return not issued.record.live(datetime.now(UTC))

    await eventually(expired)
    assert (await refusal(fleet.members[0].authenticate(issued.key))).message == "This API key has expired."


async def test_rotation_keeps_rights_and_lifetime_and_the_old_key_for_the_overlap(fleet: Fleet) -> None:
    keys = fleet.members[0]
    limits = KeyLimits(tokens_per_minute=9)
    old = await keys.create("app", "acme", CHAT, limits, expires_in=86_400)
    new = await keys.rotate(old.record.id, 3600, "acme")
    assert (new.record.name, new.record.scopes, new.record.limits) == ("app", CHAT, limits)
    assert new.record.expires_at == new.record.created_at + timedelta(days=1)
    for key in (old.key, new.key):
        await keys.authenticate(key)
    ends = (await keys.list("acme", 100))[0]
    [retired] = [record.expires_at for record in ends if record.id == old.record.id]
    assert retired == new.record.created_at + timedelta(hours=1)
    assert (await refusal(keys.rotate(old.record.id, 0))).status == 409


async def test_rotation_without_overlap_ends_the_old_key_everywhere(fleet: Fleet) -> None:
    old = await fleet.members[0].create("app", "acme", CHAT)
    await fleet.members[1].authenticate(old.key)
    new = await fleet.members[0].rotate(old.record.id, 0)
    assert (await refusal(fleet.members[1].authenticate(old.key))).status == 401
    assert new.record.expires_at is None
    await fleet.members[1].authenticate(new.key)


async def test_a_key_is_rotated_once_by_however_many_try(fleet: Fleet) -> None:
    old = await fleet.members[0].create("app", "acme", CHAT)
    outcomes = await asyncio.gather(
        *(member.rotate(old.record.id, 60) for member in fleet.members * 3), return_exceptions=True
    )
    assert sorted(outcome.status for outcome in outcomes if isinstance(outcome, Refused)) == [409] * 5


async def test_foreign_keys_are_as_if_they_were_not_there(fleet: Fleet) -> None:
    keys = fleet.members[0]
    issued = await keys.create("app", "acme", CHAT)
    for attempt in (keys.revoke(issued.record.id, "other"), keys.rotate(issued.record.id, 0, "other")):
        assert (await refusal(attempt)).code == "key_not_found"
    assert (await refusal(keys.list("other", 10, issued.record.id))).param == "after"
    await keys.authenticate(issued.key)


async def test_pages_hold_every_key_once_newest_first(fleet: Fleet) -> None:
    keys = fleet.members[0]
    made = [(await keys.create(str(number), "pages", CHAT)).record.id for number in range(5)]
    found: list[str] = []
    more, after = True, None
    while more:
        page, more = await keys.list("pages", 2, after)
        found += [record.id for record in page]
        after = found[-1]
    assert found == made[::-1]


async def test_last_use_is_written_down(fleet: Fleet) -> None:
    keys = fleet.members[0]
    issued = await keys.create("app", "used", CHAT)
    await keys.authenticate(issued.key)
    await keys.close()
    [record], _ = await keys.list("used", 1)
    assert record.last_used_at is not None
