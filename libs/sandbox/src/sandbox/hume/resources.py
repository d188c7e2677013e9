"""Prompts, tools and configs: the nine routes each of them has."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox.hume.accounts import LIBRARY, Account, Kind, Thing, Version, now_ms
from sandbox.hume.calls import Call, observed, paged
from sandbox.hume.errors import HumeError, invalid, json_response
from sandbox.hume.validation import CONTENT, check_description, check_name, check_new, check_version

# What a config answers for the blocks it was not given.
_CONFIG_DEFAULTS: dict[str, Any] = {
    "timeouts": {
        "inactivity": {"enabled": True, "duration_secs": 600},
        "max_duration": {"enabled": True, "duration_secs": 1800},
    },
    "turn_detection": {"end_of_turn_silence_ms": 800, "prefix_padding_ms": 300, "speech_detection_threshold": 0.5},
    "interruption": {"min_interruption_ms": 800},
}


def routes() -> list[web.RouteDef]:
    """The routes of all three kinds."""
    kinds: tuple[Kind, ...] = ("prompt", "tool", "config")
    return [route for kind in kinds for route in _Routes(kind).all()]


@dataclass(frozen=True, slots=True)
class _Routes:
    """The routes of one kind."""

    kind: Kind

    def all(self) -> list[web.RouteDef]:
        base = f"/v0/evi/{self.kind}s"
        one, version = f"{base}/{{id}}", f"{base}/{{id}}/version/{{version}}"
        table: list[tuple[str, str, Callable[[Call], Awaitable[web.Response]]]] = [
            ("GET", base, self.list),
            ("POST", base, self.create),
            ("GET", one, self.list_versions),
            ("POST", one, self.create_version),
            ("PATCH", one, self.rename),
            ("DELETE", one, self.delete),
            ("GET", version, self.get_version),
            ("PATCH", version, self.describe),
            ("DELETE", version, self.delete_version),
        ]
        return [web.route(method, path, observed(answer)) for method, path, answer in table]

    async def list(self, call: Call) -> web.Response:
        """Resources, newest first; all their versions unless restricted to the most recent ones."""
        latest, name = call.flag("restrict_to_most_recent", True), call.request.query.get("name")
        things = reversed(call.account.things[self.kind].values())
        found = [each for each in things if name in (None, each.name)]
        return paged(call, f"{self.kind}s_page", [self.show(call.account, *pair) for pair in _pairs(found, latest)])

    async def list_versions(self, call: Call) -> web.Response:
        """The versions of one resource, newest first."""
        thing = call.account.thing(self.kind, call.id())
        pairs = _pairs([thing], call.flag("restrict_to_most_recent", False))
        return paged(call, f"{self.kind}s_page", [self.show(call.account, *pair) for pair in pairs])

    async def create(self, call: Call) -> web.Response:
        """A resource with version 0."""
        body = call.body()
        check_new(self.kind, body)
        call.account.check_name(self.kind, body["name"])
        content = self._content(call.account, body)
        thing = call.account.create(self.kind, body["name"])
        version = thing.add(content, body.get("version_description", ""))
        return json_response(self.show(call.account, thing, version), 201)

    async def create_version(self, call: Call) -> web.Response:
        """The next version."""
        thing, body = call.account.thing(self.kind, call.id()), call.body()
        check_version(self.kind, body)
        version = thing.add(self._content(call.account, body), body.get("version_description", ""))
        return json_response(self.show(call.account, thing, version), 201)

    async def get_version(self, call: Call) -> web.Response:
        """One version."""
        thing = call.account.thing(self.kind, call.id())
        return json_response(self.show(call.account, thing, thing.version(call.version())))

    async def rename(self, call: Call) -> web.Response:
        """Another name for all versions; the answer has no body."""
        thing, body = call.account.thing(self.kind, call.id()), call.body()
        check_name(body)
        call.account.check_name(self.kind, body["name"], but=thing.id)
        thing.name = body["name"]
        thing.versions[-1].modified_on = now_ms()
        return web.Response()

    async def describe(self, call: Call) -> web.Response:
        """Another description for one version."""
        thing, body = call.account.thing(self.kind, call.id()), call.body()
        check_description(body)
        version = thing.version(call.version())
        version.description = body.get("version_description", "")
        version.modified_on = now_ms()
        return json_response(self.show(call.account, thing, version))

    async def delete(self, call: Call) -> web.Response:
        """The resource with all its versions."""
        thing = call.account.thing(self.kind, call.id())
        del call.account.things[self.kind][thing.id]
        return web.Response(status=204)

    async def delete_version(self, call: Call) -> web.Response:
        """One version; the last one takes the resource with it."""
        thing = call.account.thing(self.kind, call.id())
        thing.versions.remove(thing.version(call.version()))
        if not thing.versions:
            del call.account.things[self.kind][thing.id]
        return web.Response(status=204)

    def _content(self, account: Account, body: dict[str, Any]) -> dict[str, Any]:
        content = {name: body[name] for name in CONTENT[self.kind] if body.get(name) is not None}
        if self.kind != "config":
            return content
        _check_references(account, content)
        return {**_CONFIG_DEFAULTS, **content}

    def show(self, account: Account, thing: Thing, version: Version) -> dict[str, Any]:
        """A version as the API answers it."""
        shown = {
            "id": thing.id,
            "name": thing.name,
            "version": version.number,
            "version_description": version.description,
            "created_on": thing.created_on,
            "modified_on": version.modified_on,
            **version.content,
        }
        if self.kind == "config":
            return {**shown, **_expanded(account, version.content)}
        if self.kind == "tool":
            shown["tool_type"] = "FUNCTION"
        return {**shown, "version_type": "FIXED"}


def _pairs(things: list[Thing], latest: bool) -> Iterator[tuple[Thing, Version]]:
    for thing in things:
        for version in thing.versions[-1:] if latest else reversed(thing.versions):
            yield thing, version


def _check_references(account: Account, content: dict[str, Any]) -> None:
    """A config names prompts and tools that are there."""
    prompt = content.get("prompt", {})
    named: list[tuple[Kind, dict[str, Any]]] = [("prompt", prompt)] if "id" in prompt else []
    named += [("tool", tool) for tool in content.get("tools", [])]
    for kind, reference in named:
        try:
            account.thing(kind, reference["id"]).version(reference.get("version"))
        except HumeError:
            raise invalid(f"there is no {kind} '{reference['id']}' in that version") from None


def _expanded(account: Account, content: dict[str, Any]) -> dict[str, Any]:
    """The blocks of a config that come back as whole objects; what was deleted since is left out."""
    blocks: dict[str, Any] = {}
    if "prompt" in content:
        blocks["prompt"] = _referred(account, "prompt", content["prompt"])
    if "tools" in content:
        blocks["tools"] = [_referred(account, "tool", tool) for tool in content["tools"]]
    if "builtin_tools" in content:
        blocks["builtin_tools"] = [{**tool, "tool_type": "BUILTIN"} for tool in content["builtin_tools"]]
    if "voice" in content:
        blocks["voice"] = _voice(account, content["voice"])
    return blocks


def _referred(account: Account, kind: Kind, reference: dict[str, Any]) -> dict[str, Any] | None:
    if "id" not in reference:
        return _inline_prompt(reference)
    try:
        thing = account.thing(kind, reference["id"])
        version = thing.version(reference.get("version"))
    except HumeError:
        return None
    shown = _Routes(kind).show(account, thing, version)
    return {**shown, "version_type": "FIXED" if "version" in reference else "LATEST"}


def _inline_prompt(reference: dict[str, Any]) -> dict[str, Any]:
    fixed = {"id": "00000000-0000-4000-8000-000000000000", "name": "", "version": 0, "version_type": "FIXED"}
    return {"text": "", **reference, **fixed, "created_on": 0, "modified_on": 0}


def _voice(account: Account, reference: dict[str, Any]) -> dict[str, Any]:
    known = [*LIBRARY, *account.voices.values()]
    wanted = {name: reference[name] for name in ("id", "name") if name in reference}
    for voice in known:
        if all(voice[name] == value for name, value in wanted.items()):
            return {name: voice[name] for name in ("id", "name", "provider")}
    return {"id": "", "name": "", **reference}
