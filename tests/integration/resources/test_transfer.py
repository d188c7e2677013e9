"""A project taken out and put in elsewhere is the same project: same ids, versions, sets and rollouts."""

import asyncio
import copy
import json
import os
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.events.resources import (
    ACTIVE_HISTORY_REQUESTED,
    ACTIVE_RESOLVE_REQUESTED,
    ACTIVE_ROLLOUT_REQUESTED,
    ACTIVE_SWITCH_REQUESTED,
    AUDIT_LIST_REQUESTED,
    PROJECT_EXPORT_REQUESTED,
    PROJECT_IMPORT_REQUESTED,
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_GET_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
    RESOURCE_VERSIONS_REQUESTED,
    TOOL_STATUS_REQUESTED,
)
from tests.support.resources import Caller

SCHEMA = '{"type": "object"}'


@pytest.fixture
def here(shared: Caller) -> Caller:
    return replace(shared, org_id=f"here-{uuid.uuid4().hex[:12]}", asked=[])


@pytest.fixture
def there(shared: Caller) -> Caller:
    return replace(shared, org_id=f"there-{uuid.uuid4().hex[:12]}", asked=[])


async def made(caller: Caller, kind: str, **body: Any) -> str:
    answer = await caller.ask(RESOURCE_CREATE_REQUESTED, kind=kind, body=body)
    assert answer.status == 201, answer.body
    return str(answer.body[kind]["id"])


async def furnished(caller: Caller) -> dict[str, Any]:
    """A project with its own set, a user's set and a rollout, as it is taken out."""
    greeter = await made(caller, "prompt", name="greeter", text="Greet.")
    await caller.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=greeter, body={"text": "Greet by name."})
    await caller.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=greeter, body={"text": "Greet loudly."})
    await caller.ask(RESOURCE_DELETE_REQUESTED, kind="prompt", id=greeter, version=1)
    named = await made(caller, "prompt", name="named by the config", text="Help.")
    desk = await made(caller, "config", name="desk", evi_version="3", prompt={"id": named})
    weather = await made(caller, "tool", name="get_weather", parameters=SCHEMA)
    await made(caller, "tool", name="unused", parameters=SCHEMA)
    pins = {"config": {"id": desk}, "prompt": {"id": greeter, "version": 0}, "tools": [{"id": weather}]}
    own, user = {"layer": "project", "project_id": "p"}, {"project_id": "p", "user_id": "ada"}
    for place in (own, user):
        assert (await caller.ask(ACTIVE_SWITCH_REQUESTED, place=place, pins=pins)).status == 200
    newer = {**pins, "prompt": {"id": greeter, "version": 2}}
    assert (await caller.ask(ACTIVE_ROLLOUT_REQUESTED, place=own, pins=newer, percent=25)).status == 200
    return await taken_out(caller)


async def taken_out(caller: Caller) -> dict[str, Any]:
    answer = await caller.ask(PROJECT_EXPORT_REQUESTED, project_id="p")
    assert answer.status == 200, answer.body
    document: dict[str, Any] = answer.body
    return document


async def test_a_project_imported_elsewhere_is_exported_the_same(here: Caller, there: Caller) -> None:
    document = await furnished(here)
    assert {kept["name"] for kept in document["resources"]} == {"greeter", "named by the config", "desk", "get_weather"}
    assert [place["user_id"] for place in document["places"]] == ["", "ada"]
    answer = await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)
    assert (answer.status, answer.body) == (200, {"resources": 4, "versions": 5, "places": 2})
    assert await taken_out(there) == document
    [greeter] = [kept["id"] for kept in document["resources"] if kept["name"] == "greeter"]
    added = await there.ask(RESOURCE_VERSION_REQUESTED, kind="prompt", id=greeter, body={"text": "Greet again."})
    assert added.body["prompt"]["version"] == 3
    versions = (await there.ask(RESOURCE_VERSIONS_REQUESTED, kind="prompt", id=greeter)).body["prompts"]
    assert [item["version"] for item in versions] == [3, 2, 0]
    assert (await here.ask(RESOURCE_GET_REQUESTED, kind="prompt", id=greeter)).body["prompt"]["version"] == 2


async def test_putting_it_in_again_changes_nothing_and_an_interrupted_edit_is_made_up_for(
    here: Caller, there: Caller
) -> None:
    document = await furnished(here)
    assert (await here.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)).body["places"] == 0
    for _ in range(2):
        await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)
    again = await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)
    assert again.body == {"resources": 0, "versions": 0, "places": 0}
    history = (await there.ask(ACTIVE_HISTORY_REQUESTED, place={"project_id": "p", "user_id": "ada"})).body["data"]
    assert [(revision["revision"], revision["note"]) for revision in history] == [(1, "imported")]
    await there.ask(ACTIVE_ROLLOUT_REQUESTED, place={"layer": "project", "project_id": "p"}, percent=0)
    assert (await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)).body["places"] == 1
    assert await taken_out(there) == document


async def test_sets_with_a_tool_that_was_disabled_since_are_moved_with_it(here: Caller, there: Caller) -> None:
    document = await furnished(here)
    [weather] = [kept["id"] for kept in document["resources"] if kept["name"] == "get_weather"]
    assert (await here.ask(TOOL_STATUS_REQUESTED, id=weather, status="disabled")).status == 200
    document = await taken_out(here)
    answer = await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)
    assert (answer.status, answer.body["places"]) == (200, 2), answer.body
    assert await taken_out(there) == document
    served = await there.ask(ACTIVE_RESOLVE_REQUESTED, project_id="p")
    assert not any('"get_weather"' in entry for entry in served.body["entries"])
    assert (await here.ask(PROJECT_IMPORT_REQUESTED, project_id="copy", document=document)).body["places"] == 2
    assert (await here.ask(RESOURCE_GET_REQUESTED, kind="tool", id=weather)).body["tool"]["status"] == "disabled"
    quarantined = copy.deepcopy(document)
    for kept in quarantined["resources"]:
        if kept["id"] == weather:
            kept["status"] = "quarantined"
    refused = await there.of(f"other-{uuid.uuid4().hex}").ask(
        PROJECT_IMPORT_REQUESTED, project_id="p", document=quarantined
    )
    assert (refused.status, refused.body["error"]["code"]) == (409, "not_usable")


async def test_it_may_become_another_project(here: Caller) -> None:
    document = await furnished(here)
    answer = await here.ask(PROJECT_IMPORT_REQUESTED, project_id="copy", document=document)
    assert answer.body == {"resources": 0, "versions": 0, "places": 2}
    copied = await here.ask(PROJECT_EXPORT_REQUESTED, project_id="copy")
    assert copied.body == {**document, "project_id": "copy"}


async def test_what_is_different_here_is_refused_as_a_whole(here: Caller, there: Caller) -> None:
    document = await furnished(here)
    await made(there, "config", name="desk", evi_version="3")
    refused = await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)
    assert (refused.status, refused.body["error"]["code"]) == (409, "name_taken")
    assert (await there.ask(RESOURCE_LIST_REQUESTED, kind="prompt")).body["prompts"] == []
    assert len((await there.ask(AUDIT_LIST_REQUESTED)).body["data"]) == 1
    changed = copy.deepcopy(document)
    [greeter] = [kept for kept in changed["resources"] if kept["name"] == "greeter"]
    greeter["versions"][0]["content"]["text"] = "Something else."
    refused = await here.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=changed)
    assert (refused.status, refused.body["error"]["code"]) == (409, "version_conflict")
    renamed = await here.ask(RESOURCE_EDIT_REQUESTED, kind="prompt", id=greeter["id"], name="host")
    assert renamed.status == 200
    assert (await here.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=document)).status == 200


def broken(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The document with another value at a path."""
    changed = copy.deepcopy(document)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return changed


BREAKS: list[tuple[tuple[str | int, ...], Any]] = [
    (("format",), "sonant.project/2"),
    (("resources",), "all"),
    (("resources", 0, "id"), "../etc"),
    (("resources", 0, "name"), "\0"),
    (("resources", 0, "status"), "famous"),
    (("resources", 0, "provenance"), {"who": "nul\0"}),
    (("resources", 0, "provenance"), {"who": "w" * 70_000}),
    (("resources", 0, "versions"), []),
    (("resources", 0, "versions", 0, "version"), -1),
    (("resources", 0, "versions", 0, "created_on"), 2**62),
    (("resources", 0, "versions", 0, "content"), {}),
    (("resources", 0, "versions", 0, "surprise"), 1),
    (("places", 0, "user_id"), "nul\0"),
    (("places", 0, "user_id"), "u" * 500),
    (("places", 0, "percent"), 100),
    (("places", 0, "pins"), {}),
]


async def test_a_wrong_document_is_refused_and_nothing_is_imported(here: Caller, there: Caller) -> None:
    document = await furnished(here)
    for path, value in BREAKS:
        refused = await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=broken(document, path, value))
        assert refused.status == 400, (path, refused.body)
        assert refused.body["error"]["param"], path
    missing = broken(document, ("places", 1, "pins", "prompt", "version"), 7)
    assert (await there.ask(PROJECT_IMPORT_REQUESTED, project_id="p", document=missing)).status == 404
    for kind in ("prompt", "config", "tool"):
        assert (await there.ask(RESOURCE_LIST_REQUESTED, kind=kind)).body[f"{kind}s"] == []
    assert (await there.ask(AUDIT_LIST_REQUESTED)).body["data"] == []


async def sonant(caller: Caller, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command on the engines of the test."""
    url = caller.world.redis_url
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from sonant_cli.main import main; main()", *arguments),
        env={**os.environ, "SONANT_LOG_URL": url, "SONANT_REDIS_URL": url, "SONANT_DATA_DIR": str(caller.world.output)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_the_command_line_moves_a_project_as_a_file(here: Caller, there: Caller, tmp_path: Path) -> None:
    document, file = await furnished(here), tmp_path / "project.json"
    assert await sonant(here, "export", str(file), "--project", "p", "--org", here.org_id) == (
        0,
        f"4 resources and 2 active sets in {file}\n",
    )
    assert json.loads(file.read_text()) == document
    assert await sonant(here, "import", "file", str(file), "--org", there.org_id) == (
        0,
        "4 resources with 5 new versions, 2 active sets switched\n",
    )
    assert await taken_out(there) == document
    _, printed = await sonant(here, "export", "--project", "p", "--org", there.org_id)
    assert json.loads(printed) == document
    code, complaint = await sonant(
        here, "export", str(tmp_path / "nothing.json"), "--project", "q", "--org", here.org_id
    )
    assert (code, "nothing to export" in complaint, (tmp_path / "nothing.json").exists()) == (1, True, False)
    file.write_text('{"format": "something else"}')
    code, complaint = await sonant(here, "import", "file", str(file), "--project", "p")
    assert (code, "(400, missing_required_parameter)" in complaint or "(400, invalid_value)" in complaint) == (1, True)
    code, complaint = await sonant(here, "import", "file", str(tmp_path / "missing.json"))
    assert (code, "cannot be read" in complaint) == (1, True)


async def test_a_project_nobody_has_is_empty_and_one_that_cannot_be_is_refused(here: Caller, there: Caller) -> None:
    empty = await there.ask(PROJECT_EXPORT_REQUESTED, project_id="p")
    assert empty.body == {"format": "sonant.project/1", "project_id": "p", "resources": [], "places": []}
    assert (await there.ask(PROJECT_EXPORT_REQUESTED, project_id="a\0b")).status == 400
    await furnished(here)
    assert (await taken_out(there))["resources"] == []
