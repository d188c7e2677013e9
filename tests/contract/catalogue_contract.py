"""What every catalogue promises, whatever holds the resources: one class, inherited by a test per adapter."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import pytest

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import ResourceDeleted
from common.events.resource_terms import Kind
from common.events.resources import RESOURCE_CREATE_REQUESTED, ResourceCreateRequested
from common.events.spec import Payload
from common.failures import ProviderDown, Refused
from common.storage.postgres import Pool
from common.storage.unit_of_work import UnitsOfWork
from resources.adapters.postgres.store import write_tables
from resources.app import SCHEMA
from resources.ports import Catalogue, Item, Work, WriteTables

T = TypeVar("T")

KINDS: tuple[Kind, ...] = ("prompt", "tool", "config")
BODIES: dict[Kind, tuple[dict[str, Any], dict[str, Any]]] = {
    "prompt": ({"text": "Be brief."}, {"text": "Be long.", "prompt_expansion": {"enabled": True}}),
    "tool": (
        {"parameters": '{"type":"object"}', "description": "Looks things up."},
        {"parameters": '{"type":"object","properties":{"q":{"type":"string"}}}', "fallback_content": "Nothing."},
    ),
    "config": (
        {
            "evi_version": "3",
            "language_model": {"model_provider": "OPEN_AI", "model_resource": "m", "temperature": 0.5},
        },
        {"evi_version": "3", "event_messages": {"on_new_chat": {"enabled": True, "text": "Hello"}}},
    ),
}
# What either catalogue can make a voice of.
VOICE = {"provider": "CUSTOM_VOICE", "generation_id": "g1"}
UNKNOWN = "11111111-1111-4111-8111-111111111111"
# A caller that keeps repeating its command gets through within these tries, or something is wrong.
PATIENCE = 8


# What the commands are answered with: none of this is about it.
ANSWER = Reply(ResourceDeleted(id=UNKNOWN, version=None, deleted=True))


class Crash(Exception):
    """An answer is lost between provider and commit."""


@dataclass
class World:
    """A catalogue, its transactions and an organisation of the test's own."""

    catalogue: Catalogue
    units: UnitsOfWork[WriteTables]
    org_id: str = field(default_factory=lambda: f"org-{uuid.uuid4().hex}")

    def command(self, kind: Kind = "prompt") -> Event[Any]:
        """A command; what it says does not matter below the use cases, its id does."""
        asked = ResourceCreateRequested(org_id=self.org_id, key_id="k", user_id="u", kind=kind, body={})
        return Event(RESOURCE_CREATE_REQUESTED, asked)

    async def write(self, do: Callable[[Work], Awaitable[T]], command: Event[Any] | None = None) -> T:
        """Do it in a transaction, with the patience of a caller who repeats the command while the provider is away."""
        command = command or self.command()

        async def once() -> T:
            async with self.units.begin(command) as work:
                done = await do(work)
                await work.answer(ANSWER)
                return done

        return await patiently(once)

    async def create(self, kind: Kind, name: str, description: str = "", which: int = 0) -> Item:
        body = {"name": name, "version_description": description, **BODIES[kind][which]}
        return await self.write(lambda work: self.catalogue.create(work, kind, body))

    async def create_version(self, kind: Kind, id: str, description: str = "", which: int = 1) -> Item:
        body = {"version_description": description, **BODIES[kind][which]}
        return await self.write(lambda work: self.catalogue.create_version(work, kind, id, body))

    async def create_voice(self, name: str) -> Item:
        return await self.write(lambda work: self.catalogue.create(work, "voice", {"name": name, **VOICE}))

    async def twice(self, do: Callable[[Work], Awaitable[Item]]) -> Item:
        """Do it again after a crash: the effect was there and the transaction was not."""
        command = self.command()
        with pytest.raises(Crash):
            await patiently(lambda: self._crashing(command, do))
        return await self.write(do, command)

    async def _crashing(self, command: Event[Any], do: Callable[[Work], Awaitable[Item]]) -> None:
        async with self.units.begin(command) as work:
            await do(work)
            raise Crash

    async def get(self, kind: Kind, id: str, version: int | None = None) -> Item:
        return await patiently(lambda: self.catalogue.get(self.org_id, kind, id, version))

    async def numbers(self, kind: Kind, id: str) -> list[int]:
        """The numbers of all versions, as listed."""
        page = await patiently(lambda: self.catalogue.versions(self.org_id, kind, id, page=0, size=100))
        return [each.version for each in page.items]

    async def names(self, kind: Kind, *, name: str | None = None, page: int = 0, size: int = 100) -> list[str]:
        """The names of the latest versions, as listed."""
        found = await patiently(lambda: self.catalogue.list(self.org_id, kind, name=name, page=page, size=size))
        return [each.name for each in found.items]


def units_of(pool: Pool) -> UnitsOfWork[WriteTables]:
    """Units of work of which nobody is told."""

    async def committed(event: Event[Any], facts: Sequence[Payload]) -> None:
        del event, facts

    return UnitsOfWork(pool, SCHEMA, tables=write_tables, committed=committed)


async def patiently(do: Callable[[], Awaitable[T]]) -> T:
    """Repeat it while the provider is away."""
    for _ in range(PATIENCE - 1):
        try:
            return await do()
        except ProviderDown:
            continue
    return await do()


async def refused(status: int, do: Awaitable[Any]) -> Refused:
    """The refusal it meets, which has this status."""
    with pytest.raises(Refused) as met:
        await do
    assert met.value.status == status, met.value
    return met.value


@pytest.mark.parametrize("kind", KINDS)
class CatalogueContract:
    """Inherit it and give a fixture `world`."""

    async def test_a_resource_begins_with_version_0(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "greeter", "the first")
        assert (made.kind, made.name, made.version, made.version_description) == (kind, "greeter", 0, "the first")
        assert BODIES[kind][0].items() <= made.content.items()
        assert made.created_on > 1_600_000_000_000
        known = await world.get(kind, made.id, 0)
        assert known == made
        latest = await world.get(kind, made.id)
        assert (latest.version, latest.version_type) == (0, "LATEST")

    async def test_versions_count_up_and_stay_as_they_were(self, world: World, kind: Kind) -> None:
        first = await world.create(kind, "greeter", "one")
        second = await world.create_version(kind, first.id, "two")
        assert (second.id, second.name, second.version) == (first.id, "greeter", 1)
        assert BODIES[kind][1].items() <= second.content.items()
        assert (await world.get(kind, first.id, 0)).content == first.content
        assert (await world.get(kind, first.id)).version == 1
        assert await world.numbers(kind, first.id) == [1, 0]

    async def test_lists_hold_the_latest_versions_newest_first(self, world: World, kind: Kind) -> None:
        made = [await world.create(kind, f"n{index}") for index in range(5)]
        await world.create_version(kind, made[0].id)
        assert await world.names(kind) == ["n4", "n3", "n2", "n1", "n0"]
        assert await world.names(kind, page=1, size=2) == ["n2", "n1"]
        assert await world.names(kind, page=3, size=2) == []
        assert await world.names(kind, name="n3") == ["n3"]
        assert await world.names(kind, name="n") == []
        page = await patiently(lambda: world.catalogue.list(world.org_id, kind, name=None, page=2, size=2))
        assert (page.number, page.size, page.total) == (2, 2, 5)
        assert [(each.version, each.version_type) for each in page.items] == [(1, "LATEST")]

    async def test_versions_come_in_pages(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "greeter")
        for _ in range(4):
            await world.create_version(kind, made.id)
        page = await patiently(lambda: world.catalogue.versions(world.org_id, kind, made.id, page=1, size=2))
        assert [each.version for each in page.items] == [2, 1]
        assert -(-page.total // page.size) == 3

    async def test_a_new_name_is_that_of_all_versions(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "old")
        await world.create_version(kind, made.id)
        renamed = await world.write(lambda work: world.catalogue.rename(work, kind, made.id, "new"))
        assert (renamed.name, renamed.version) == ("new", 1)
        assert (await world.get(kind, made.id, 0)).name == "new"
        assert await world.names(kind) == ["new"]
        await world.write(lambda work: world.catalogue.rename(work, kind, made.id, "new"))

    async def test_names_are_unique_within_a_kind(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "taken")
        other = await world.create(kind, "other")
        met = await refused(409, world.create(kind, "taken"))
        assert (met.code, met.details["id"]) == ("name_taken", made.id)
        await refused(409, world.write(lambda work: world.catalogue.rename(work, kind, other.id, "taken")))
        assert sorted(await world.names(kind)) == ["other", "taken"]

    async def test_a_description_belongs_to_one_version(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "greeter", "one")
        await world.create_version(kind, made.id, "two")
        described = await world.write(lambda work: world.catalogue.describe(work, kind, made.id, 0, "first"))
        assert (described.version, described.version_description, described.content) == (0, "first", made.content)
        assert (await world.get(kind, made.id, 0)).version_description == "first"
        assert (await world.get(kind, made.id, 1)).version_description == "two"

    async def test_deleting_the_latest_version_makes_the_one_before_it_the_latest(
        self, world: World, kind: Kind
    ) -> None:
        made = await world.create(kind, "greeter")
        await world.create_version(kind, made.id)
        await world.write(lambda work: world.catalogue.delete_version(work, kind, made.id, 1))
        assert (await world.get(kind, made.id)).version == 0
        await refused(404, world.get(kind, made.id, 1))
        assert (await world.create_version(kind, made.id)).version == 2, "numbers are never given twice"

    async def test_the_last_version_takes_the_resource_with_it(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "greeter")
        await world.write(lambda work: world.catalogue.delete_version(work, kind, made.id, 0))
        await refused(404, world.get(kind, made.id))
        assert await world.names(kind) == []

    async def test_what_is_deleted_is_gone_and_its_name_free(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "greeter")
        await world.create_version(kind, made.id)
        await world.write(lambda work: world.catalogue.delete(work, kind, made.id))
        await refused(404, world.get(kind, made.id))
        await refused(404, world.get(kind, made.id, 0))
        await refused(404, world.numbers(kind, made.id))
        assert await world.names(kind) == []
        assert (await world.create(kind, "greeter")).id != made.id

    async def test_what_is_not_there_is_404(self, world: World, kind: Kind) -> None:
        made = await world.create(kind, "greeter")
        catalogue, body = world.catalogue, BODIES[kind][0]
        for id in (UNKNOWN, "../configs/x?y=1&z=", ".."):
            await refused(404, world.get(kind, id))
            await refused(404, world.get(kind, id, 0))
            await refused(404, world.numbers(kind, id))
            for write in (
                lambda work, id=id: catalogue.create_version(work, kind, id, body),
                lambda work, id=id: catalogue.rename(work, kind, id, "new"),
                lambda work, id=id: catalogue.describe(work, kind, id, 0, "new"),
                lambda work, id=id: catalogue.delete_version(work, kind, id, 0),
                lambda work, id=id: catalogue.delete(work, kind, id),
            ):
                await refused(404, world.write(write))
        await refused(404, world.get(kind, made.id, 7))
        await refused(404, world.write(lambda work: catalogue.describe(work, kind, made.id, 7, "new")))
        await refused(404, world.write(lambda work: catalogue.delete_version(work, kind, made.id, 7)))

    async def test_a_command_that_is_repeated_after_a_crash_is_done_once(self, world: World, kind: Kind) -> None:
        body = {"name": "greeter", "version_description": "one", **BODIES[kind][0]}
        made = await world.twice(lambda work: world.catalogue.create(work, kind, body))
        assert (made.version, made.version_description) == (0, "one")
        assert await world.names(kind) == ["greeter"]
        second = await world.twice(lambda work: world.catalogue.create_version(work, kind, made.id, BODIES[kind][1]))
        assert (second.version, await world.numbers(kind, made.id)) == (1, [1, 0])


async def _delete_voice(world: World, id: str, work: Work) -> None:
    await world.catalogue.delete(work, "voice", id)


class VoiceCatalogueContract:
    """What catalogues share about voices: they come and go, and have a version 0. Inherit it as the other."""

    async def test_a_voice_begins_with_version_0(self, world: World) -> None:
        made = await world.create_voice("Warm")
        assert (made.kind, made.name, made.version) == ("voice", "Warm", 0)
        assert made.content["provider"] == "CUSTOM_VOICE"
        assert (await world.get("voice", made.id, 0)).content == made.content
        latest = await world.get("voice", made.id)
        assert (latest.version, latest.version_type) == (0, "LATEST")
        assert await world.numbers("voice", made.id) == [0]

    async def test_voices_are_listed_newest_first(self, world: World) -> None:
        for index in range(5):
            await world.create_voice(f"n{index}")
        assert await world.names("voice") == ["n4", "n3", "n2", "n1", "n0"]
        assert await world.names("voice", page=1, size=2) == ["n2", "n1"]
        assert await world.names("voice", page=3, size=2) == []
        assert await world.names("voice", name="n3") == ["n3"]
        assert await world.names("voice", name="n") == []
        page = await patiently(lambda: world.catalogue.list(world.org_id, "voice", name=None, page=2, size=2))
        assert (page.number, page.size, page.total) == (2, 2, 5)
        assert [(each.version, each.version_type) for each in page.items] == [(0, "LATEST")]

    async def test_names_of_voices_are_unique_until_they_are_deleted(self, world: World) -> None:
        made = await world.create_voice("Warm")
        met = await refused(409, world.create_voice("Warm"))
        assert (met.code, met.details["id"]) == ("name_taken", made.id)
        await world.write(lambda work: world.catalogue.delete(work, "voice", made.id))
        await refused(404, world.get("voice", made.id))
        await refused(404, world.get("voice", made.id, 0))
        assert await world.names("voice") == []
        assert (await world.create_voice("Warm")).id != made.id

    async def test_a_voice_that_is_not_there_is_404(self, world: World) -> None:
        made = await world.create_voice("Warm")
        for id in (UNKNOWN, "../configs/x?y=1&z="):
            await refused(404, world.get("voice", id))
            await refused(404, world.numbers("voice", id))
            await refused(404, world.write(partial(_delete_voice, world, id)))
        await refused(404, world.get("voice", made.id, 7))

    async def test_a_voice_whose_creation_is_repeated_after_a_crash_is_made_once(self, world: World) -> None:
        body = {"name": "Warm", **VOICE}
        made = await world.twice(lambda work: world.catalogue.create(work, "voice", body))
        assert await world.names("voice") == ["Warm"]
        assert (await world.get("voice", made.id)).name == "Warm"
