"""What the resources service promises: versions that stay, one answer to a command, and every fact told."""

import uuid
from dataclasses import replace
from typing import Any

import orjson
import pytest

from common.events.audit import AUDIT
from common.events.reply import Reply
from common.events.resource_terms import Kind
from common.events.resources import (
    ACTIVE_HISTORY_REQUESTED,
    AUDIT_LIST_REQUESTED,
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_EVENTS,
    RESOURCE_GET_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
    RESOURCE_VERSIONS_REQUESTED,
)
from common.events.spec import EventSpec, Topic
from tests.support.resources import Caller, published

SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
BODIES: dict[Kind, dict[str, Any]] = {
    "prompt": {"name": "greeter", "text": "Greet the caller."},
    "config": {"name": "front desk", "evi_version": "3", "turn_detection": {"end_of_turn_silence_ms": 800}},
    "tool": {"name": "get_weather", "parameters": SCHEMA, "description": "Tells the weather."},
    "voice": {"name": "Ava", "description": "calm"},
}
KINDS = tuple(BODIES)


@pytest.fixture
def caller(shared: Caller) -> Caller:
    """Somebody of an organisation of this test's own."""
    return replace(shared, org_id=f"org-{uuid.uuid4().hex[:12]}", asked=[])


@pytest.fixture
def stranger(caller: Caller) -> Caller:
    """Somebody of another organisation."""
    return caller.of(f"{caller.org_id}-neighbour")


async def create(caller: Caller, kind: Kind, **changes: Any) -> dict[str, Any]:
    answer = await caller.ask(RESOURCE_CREATE_REQUESTED, kind=kind, body={**BODIES[kind], **changes})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body[kind]
    return made


async def add_version(caller: Caller, kind: Kind, id: str, **changes: Any) -> dict[str, Any]:
    content = {name: value for name, value in {**BODIES[kind], **changes}.items() if name != "name"}
    answer = await caller.ask(RESOURCE_VERSION_REQUESTED, kind=kind, id=id, body=content)
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.body[kind]
    return made


async def get(caller: Caller, kind: Kind, id: str, version: int | None = None) -> Reply[Any]:
    return await caller.ask(RESOURCE_GET_REQUESTED, kind=kind, id=id, version=version)


def code(reply: Reply[Any]) -> tuple[int, str, str | None]:
    """Status, code and param of a refusal."""
    return reply.status, reply.body["error"]["code"], reply.body["error"]["param"]


class TestVersions:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_count_from_0_stay_as_they_are_and_are_listed_newest_first(self, caller: Caller, kind: Kind) -> None:
        first = await create(caller, kind, version_description="the first")
        second = await add_version(caller, kind, first["id"], version_description="the second")
        assert (first["version"], first["version_description"]) == (0, "the first")
        assert (second["version"], second["id"], second["name"]) == (1, first["id"], first["name"])
        fixed = (await get(caller, kind, first["id"], 0)).body[kind]
        assert fixed == first
        assert fixed["version_type"] == "FIXED"
        latest = (await get(caller, kind, first["id"])).body[kind]
        assert latest == {**second, "version_type": "LATEST"}
        assert first["created_on"] > 1_700_000_000_000
        page = (await caller.ask(RESOURCE_VERSIONS_REQUESTED, kind=kind, id=first["id"])).body
        assert [item["version"] for item in page[f"{kind}s"]] == [1, 0]
        assert (page["page_number"], page["page_size"], page["total_pages"]) == (0, 10, 1)
        listed = (await caller.ask(RESOURCE_LIST_REQUESTED, kind=kind)).body
        assert listed[f"{kind}s"] == [latest]

    async def test_are_never_used_again_and_the_last_takes_the_resource_with_it(self, caller: Caller) -> None:
        id = (await create(caller, "prompt"))["id"]
        assert (await add_version(caller, "prompt", id))["version"] == 1
        gone = await caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=id, version=1)
        assert (gone.status, gone.body) == (200, {"id": id, "version": 1, "deleted": True})
        assert (await get(caller, "prompt", id)).body["prompt"]["version"] == 0
        assert (await get(caller, "prompt", id, 1)).status == 404
        assert (await add_version(caller, "prompt", id))["version"] == 2
        for version in (0, 2):
            assert (await caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=id, version=version)).status == 200
        assert (await get(caller, "prompt", id)).status == 404
        assert (await caller.ask(RESOURCE_VERSIONS_REQUESTED, kind="prompt", id=id)).status == 404
        assert (await create(caller, "prompt"))["id"] != id

    async def test_an_edit_changes_the_name_or_one_description_and_no_content(self, caller: Caller) -> None:
        first = await create(caller, "config")
        id = first["id"]
        await add_version(caller, "config", id)
        renamed = await caller.ask(RESOURCE_EDIT_REQUESTED, kind="config", id=id, name="reception")
        assert (renamed.body["config"]["name"], renamed.body["config"]["version"]) == ("reception", 1)
        described = await caller.ask(
            RESOURCE_EDIT_REQUESTED, kind="config", id=id, version=0, version_description="quiet"
        )
        changed = {"name": "reception", "version_description": "quiet"}
        fixed = (await get(caller, "config", id, 0)).body["config"]
        assert described.body["config"] == fixed
        assert {**fixed, "modified_on": 0} == {**first, **changed, "modified_on": 0}

    async def test_a_deleted_resource_is_gone_with_all_its_versions(self, caller: Caller) -> None:
        id = (await create(caller, "tool"))["id"]
        await add_version(caller, "tool", id)
        gone = await caller.ask(RESOURCE_DELETE_REQUESTED, kind="tool", id=id)
        assert gone.body == {"id": id, "version": None, "deleted": True}
        assert [(await get(caller, "tool", id, version)).status for version in (None, 0, 1)] == [404] * 3
        assert (await caller.ask(RESOURCE_LIST_REQUESTED, kind="tool")).body["tools"] == []

    async def test_lists_are_paged_and_filtered_by_name(self, caller: Caller) -> None:
        for number in range(5):
            await create(caller, "prompt", name=f"prompt {number}")
        pages = [
            (await caller.ask(RESOURCE_LIST_REQUESTED, kind="prompt", page_number=number, page_size=2)).body
            for number in range(4)
        ]
        names = [[item["name"] for item in page["prompts"]] for page in pages]
        assert names == [["prompt 4", "prompt 3"], ["prompt 2", "prompt 1"], ["prompt 0"], []]
        assert {page["total_pages"] for page in pages} == {3}
        found = (await caller.ask(RESOURCE_LIST_REQUESTED, kind="prompt", name="prompt 3")).body["prompts"]
        assert [item["name"] for item in found] == ["prompt 3"]
        assert (await caller.ask(RESOURCE_LIST_REQUESTED, kind="prompt", name="prompt")).body["prompts"] == []


class TestRefusals:
    async def test_a_name_belongs_to_one_resource_of_its_kind(self, caller: Caller, stranger: Caller) -> None:
        await create(caller, "prompt")
        other = await create(caller, "prompt", name="other")
        taken = await caller.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body=BODIES["prompt"])
        assert code(taken) == (409, "name_taken", "name")
        assert code(await caller.ask(RESOURCE_EDIT_REQUESTED, kind="prompt", id=other["id"], name="greeter")) == code(
            taken
        )
        await create(caller, "voice", name="greeter")
        await create(stranger, "prompt")

    async def test_what_belongs_to_another_organisation_is_not_there(self, caller: Caller, stranger: Caller) -> None:
        id = (await create(caller, "prompt"))["id"]
        asked: list[tuple[EventSpec[Any], dict[str, Any]]] = [
            (RESOURCE_GET_REQUESTED, {}),
            (RESOURCE_GET_REQUESTED, {"version": 0}),
            (RESOURCE_VERSIONS_REQUESTED, {}),
            (RESOURCE_VERSION_REQUESTED, {"body": {"text": "mine"}}),
            (RESOURCE_EDIT_REQUESTED, {"name": "mine"}),
            (RESOURCE_EDIT_REQUESTED, {"version": 0, "version_description": "mine"}),
            (RESOURCE_DELETE_REQUESTED, {}),
            (RESOURCE_DELETE_REQUESTED, {"version": 0}),
        ]
        for spec, fields in asked:
            assert code(await stranger.ask(spec, kind="prompt", id=id, **fields)) == (404, "not_found", None)
        assert (await stranger.ask(RESOURCE_LIST_REQUESTED, kind="prompt")).body["prompts"] == []
        assert (await stranger.ask(AUDIT_LIST_REQUESTED)).body["data"] == []
        assert (await get(caller, "prompt", id)).status == 200

    async def test_a_wrong_body_is_refused_with_its_field_and_nothing_changes(self, caller: Caller) -> None:
        for kind, body, param in WRONG_BODIES:
            refused = await caller.ask(RESOURCE_CREATE_REQUESTED, kind=kind, body=body)
            assert refused.status == 400, (body, refused.body)
            assert refused.body["error"]["param"] == param, (body, refused.body)
            assert refused.body["error"]["type"] == "invalid_request_error"
        for kind in KINDS:
            assert (await caller.ask(RESOURCE_LIST_REQUESTED, kind=kind)).body[f"{kind}s"] == []
        assert (await caller.ask(AUDIT_LIST_REQUESTED)).body["data"] == []

    async def test_a_config_may_only_name_what_is_there(self, caller: Caller, stranger: Caller) -> None:
        prompt, tool = await create(caller, "prompt"), await create(caller, "tool")
        theirs = await create(stranger, "prompt")
        for part, param in (
            ({"prompt": {"id": theirs["id"]}}, "prompt"),
            ({"prompt": {"id": prompt["id"], "version": 1}}, "prompt"),
            ({"tools": [{"id": tool["id"]}, {"id": "unknown"}]}, "tools.1"),
            ({"voice": {"provider": "CUSTOM_VOICE", "id": "unknown"}}, "voice"),
        ):
            refused = await caller.ask(RESOURCE_CREATE_REQUESTED, kind="config", body={**BODIES["config"], **part})
            assert code(refused) == (400, "unknown_reference", param)
        whole = {
            "prompt": {"id": prompt["id"], "version": 0},
            "tools": [{"id": tool["id"]}],
            "voice": {"provider": "HUME_AI", "name": "Ava Song"},
        }
        made = await create(caller, "config", **whole)
        assert {name: made[name] for name in whole} == whole

    async def test_odd_ids_and_pages_get_a_plain_answer(self, caller: Caller) -> None:
        for id in ("", "../prompts", "a\0b", "x" * 1000, "%2e%2e"):
            assert code(await get(caller, "prompt", id)) == (404, "not_found", None)
        id = (await create(caller, "prompt"))["id"]
        for version in (-1, 2**31, 2**70):
            assert code(await get(caller, "prompt", id, version)) == (404, "not_found", None)
        for fields in ({"page_number": -1}, {"page_size": 0}, {"page_size": 101}, {"page_number": 2**63}):
            assert (await caller.ask(RESOURCE_LIST_REQUESTED, kind="prompt", **fields)).status == 400
        assert (await caller.ask(RESOURCE_LIST_REQUESTED, kind="prompt", name="nul\0")).status == 400

    async def test_what_an_active_set_uses_cannot_be_deleted(self, caller: Caller) -> None:
        id = (await create(caller, "prompt"))["id"]
        for _ in range(2):
            await add_version(caller, "prompt", id)
        await pin(caller, id, 0, user_id="fixed")
        await pin(caller, id, None, user_id="following")
        fixed, following = (
            {"user_id": user_id, "project_id": "default", "revision": 1} for user_id in ("fixed", "following")
        )
        used = {0: [fixed], 2: [following], None: [fixed, following]}
        for version, users in used.items():
            refused = await caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=id, version=version)
            assert code(refused) == (409, "in_use", None)
            assert refused.body["error"]["used_by"] == users
        assert (await caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=id, version=1)).status == 200


async def pin(caller: Caller, id: str, version: int | None, *, user_id: str) -> None:
    await caller.world.fetch(
        "INSERT INTO resources.pins (org_id, project_id, user_id, revision, kind, id, version)"
        " VALUES ($1, 'default', $2, 1, 'prompt', $3, $4)",
        caller.org_id,
        user_id,
        id,
        version,
    )


def tool(parameters: object, **changes: Any) -> dict[str, Any]:
    return {"name": "t", "parameters": parameters, **changes}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


CONFIG = BODIES["config"]
WRONG_BODIES: list[tuple[Kind, dict[str, Any], str]] = [
    ("prompt", {"text": "no name"}, "name"),
    ("prompt", {"name": "no text"}, "text"),
    ("prompt", {"name": " padded", "text": "t"}, "name"),
    ("prompt", {"name": "", "text": "t"}, "name"),
    ("prompt", {"name": "n" * 201, "text": "t"}, "name"),
    ("prompt", {"name": "n", "text": "nul\0"}, "text"),
    ("prompt", {"name": "n", "text": "t" * 100_001}, "text"),
    ("prompt", {"name": "n", "text": "t", "surprise": 1}, "surprise"),
    ("prompt", {"name": "n", "text": "t", "prompt_expansion": {"enabled": "yes"}}, "prompt_expansion.enabled"),
    ("prompt", {"name": "n", "text": "t", "version_description": "d" * 1001}, "version_description"),
    ("tool", {"name": "no_parameters"}, "parameters"),
    ("tool", tool(SCHEMA, name="two words"), "name"),
    ("tool", tool(SCHEMA, name="t\n"), "name"),
    ("tool", tool("{"), "parameters"),
    ("tool", tool("[]"), "parameters"),
    ("tool", tool(7), "parameters"),
    ("tool", tool({"type": "array"}), "parameters"),
    ("tool", tool({"type": "object", "properties": 7}), "parameters"),
    ("tool", tool({"type": "object", "properties": {"a": {"$ref": "https://example.com/s"}}}), "parameters"),
    ("tool", tool({"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"}), "parameters"),
    ("tool", tool(deep(50)), "parameters"),
    ("tool", tool(orjson.dumps(SCHEMA).decode() + " " * 70_000), "parameters"),
    ("tool", tool("[" * 100_000), "parameters"),
    ("config", {"name": "c"}, "evi_version"),
    ("config", {**CONFIG, "evi_version": "2"}, "evi_version"),
    ("config", {**CONFIG, "prompt": {}}, "prompt"),
    ("config", {**CONFIG, "prompt": {"id": "a/b"}}, "prompt.id"),
    ("config", {**CONFIG, "voice": {"id": "v"}}, "voice.provider"),
    ("config", {**CONFIG, "language_model": {"model_provider": "NOBODY", "model_resource": "m"}},
     "language_model.model_provider"),
    ("config", {**CONFIG, "language_model": {"model_provider": "CUSTOM_LANGUAGE_MODEL", "model_resource": "http://x"}},
     "language_model"),
    ("config", {**CONFIG, "turn_detection": {"end_of_turn_silence_ms": 499}}, "turn_detection.end_of_turn_silence_ms"),
    ("config", {**CONFIG, "interruption": {"min_interruption_ms": 2001}}, "interruption.min_interruption_ms"),
    ("config", {**CONFIG, "webhooks": [{"url": "http://x.example", "events": ["chat_ended"]}]}, "webhooks.0.url"),
    ("config", {**CONFIG, "webhooks": [{"url": "https://x.example", "events": ["paused"]}]}, "webhooks.0.events.0"),
    ("config", {**CONFIG, "builtin_tools": [{"name": "shell"}]}, "builtin_tools.0.name"),
    ("config", {**CONFIG, "timeouts": {"inactivity": {"enabled": True, "duration_secs": 0}}},
     "timeouts.inactivity.duration_secs"),
    ("voice", {"name": "v", "provider": "NOBODY"}, "provider"),
]  # fmt: skip


class TestActivation:
    async def test_a_new_resource_becomes_part_of_the_set_in_the_same_step(self, caller: Caller) -> None:
        prompt = await create(caller, "prompt")
        place = {"project_id": "p", "user_id": "user-1"}
        config = await create_active(caller, place, "config", prompt={"id": prompt["id"], "version": 0})
        weather = await create_active(caller, place, "tool")
        voice = await create_active(caller, place, "voice")
        other = await create_active(caller, place, "prompt", name="other")
        revisions = (await caller.ask(ACTIVE_HISTORY_REQUESTED, place=place)).body["data"]
        ids = [config["id"], prompt["id"], other["id"], voice["id"], weather["id"]]
        pins = [_ids(revision["pins"]) for revision in reversed(revisions)]
        config_id, first, second, voice_id, tool_id = ids
        assert pins == [
            (config_id, first, None, []),
            (config_id, first, None, [tool_id]),
            (config_id, first, voice_id, [tool_id]),
            (config_id, second, voice_id, [tool_id]),
        ]

    async def test_without_a_set_to_join_nothing_is_created(self, caller: Caller) -> None:
        for kind in KINDS:
            refused = await caller.ask(
                RESOURCE_CREATE_REQUESTED, kind=kind, body=BODIES[kind], activate={"project_id": "p"}
            )
            assert code(refused)[:2] == (409, "no_active_set")
            assert (await caller.ask(RESOURCE_LIST_REQUESTED, kind=kind)).body[f"{kind}s"] == []
        assert (await caller.ask(AUDIT_LIST_REQUESTED)).body["data"] == []


async def create_active(caller: Caller, place: dict[str, str], kind: Kind, **changes: Any) -> dict[str, Any]:
    answer = await caller.ask(RESOURCE_CREATE_REQUESTED, kind=kind, body={**BODIES[kind], **changes}, activate=place)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body[kind]
    return made


def _ids(pins: dict[str, Any]) -> tuple[str, str, str | None, list[str]]:
    voice = pins["voice"]
    return pins["config"]["id"], pins["prompt"]["id"], voice and voice["id"], [tool["id"] for tool in pins["tools"]]


async def told(caller: Caller, topic: Topic) -> list[Any]:
    """What was told of the caller's organisation, in order."""
    await published(caller.world)
    return [event.payload for event in await caller.world.events(topic) if event.payload.org_id == caller.org_id]


class TestFacts:
    async def test_every_write_is_told_and_audited_once(self, caller: Caller) -> None:
        id = (await create(caller, "prompt"))["id"]
        await add_version(caller, "prompt", id, text="Hello.")
        await caller.ask(RESOURCE_EDIT_REQUESTED, kind="prompt", id=id, name="host")
        await caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=id)
        changes = await told(caller, RESOURCE_EVENTS)
        assert [(change.action, change.id, change.version) for change in changes] == [
            ("created", id, 0),
            ("versioned", id, 1),
            ("renamed", id, 1),
            ("deleted", id, None),
        ]
        assert [change.clock for change in changes] == [1, 2, 3, 4]
        entries = await told(caller, AUDIT)
        assert [entry.action for entry in entries] == [
            "prompt.created",
            "prompt.versioned",
            "prompt.renamed",
            "prompt.deleted",
        ]
        assert (entries[0].before, entries[-1].after) == (None, None)
        assert entries[0].after != entries[1].after
        assert entries[2].after == entries[3].before
        assert {(entry.org_id, entry.key_id, entry.user_id) for entry in entries} == {
            (caller.org_id, "key-1", "user-1")
        }
        assert [entry.event_id for entry in entries] == [event.id for event in caller.asked]

    async def test_the_audit_trail_is_read_newest_first_in_pages(self, caller: Caller) -> None:
        ids = [(await create(caller, "prompt", name=f"prompt {number}"))["id"] for number in range(3)]
        newest = (await caller.ask(AUDIT_LIST_REQUESTED, limit=2)).body
        assert [entry["target"] for entry in newest["data"]] == [f"prompt:{ids[2]}:0", f"prompt:{ids[1]}:0"]
        assert newest["has_more"]
        rest = (await caller.ask(AUDIT_LIST_REQUESTED, limit=2, before=newest["data"][-1]["id"])).body
        assert [entry["target"] for entry in rest["data"]] == [f"prompt:{ids[0]}:0"]
        assert not rest["has_more"]
        one = (await caller.ask(AUDIT_LIST_REQUESTED, target=f"prompt:{ids[1]}:0")).body["data"]
        assert [entry["action"] for entry in one] == ["prompt.created"]

    async def test_a_refused_command_leaves_nothing(self, caller: Caller) -> None:
        await create(caller, "prompt")
        assert (await caller.ask(RESOURCE_CREATE_REQUESTED, kind="prompt", body=BODIES["prompt"])).status == 409
        assert len(await told(caller, RESOURCE_EVENTS)) == len(await told(caller, AUDIT)) == 1

    async def test_a_repetition_gets_its_answer_even_when_its_subject_is_gone(self, caller: Caller) -> None:
        event = caller.event(RESOURCE_CREATE_REQUESTED, kind="prompt", body=BODIES["prompt"])
        [made] = await caller.deliver(event)
        delete = caller.event(RESOURCE_DELETE_REQUESTED, kind="prompt", id=made.body["prompt"]["id"])
        [deleted] = await caller.deliver(delete)
        again = await caller.deliver(event, delete)
        assert [(reply.status, reply.body) for reply in again] == [(201, made.body), (200, deleted.body)]
        assert (await caller.ask(RESOURCE_LIST_REQUESTED, kind="prompt")).body["prompts"] == []
