"""Attacks that halt a consumer (part A), and such as keep a loop busy (part D)."""

import itertools
import random
import uuid
from functools import partial
from typing import Any

import orjson

from tests.bench.attacks.attack import Attack
from tests.bench.attacks.ground import Ground, bearer, chat
from tests.bench.system import BenchError

TOOLS = "/api/hume/tools"
PROJECT = "attack"
DIFF_LINES = 5000
# Python's comparison looks away from a line that makes up more than a hundredth.
KINDS = 110
TYPES = 20_000
CONTAINERS = 250_000
PATTERNS = (
    "a{99999999999999}",
    "(" * 5000 + ")" * 5000,
    "(?:" * 3000 + "a" + ")*" * 3000,
    "[" * 4000,
    "(a|a)*" * 2000,
)


def tool(schema: object) -> dict[str, Any]:
    """A tool whose one parameter has this schema."""
    properties = {"city": schema}
    return {"name": f"t_{uuid.uuid4().hex[:12]}", "parameters": {"type": "object", "properties": properties}}


class SchemasThatHalt(Attack):
    """Tools whose patterns cannot be compiled, or nest without end: 21 of them once halted resources for everybody."""

    name, part = "schemas that halt", "A"

    async def run(self, ground: Ground) -> None:
        key, patterns = await ground.key("resources"), itertools.cycle(PATTERNS)

        async def once() -> None:
            await ground.call("POST", TOOLS, key, tool({"type": "string", "pattern": next(patterns)}))

        await ground.repeat(4, once)


class LongDiffs(Attack):
    """Differences of two prompts of 15 KB, which once stood the service still for 25 s each."""

    name, part = "long diffs", "D"

    async def run(self, ground: Ground) -> None:
        key = await ground.key("resources")
        config = await _created(ground, key, "config", {"evi_version": "3"})
        for text in (_lines(1), _lines(2)):
            prompt = await _created(ground, key, "prompt", {"text": text})
            pins = {"configId": config, "configVersion": 0, "promptId": prompt, "promptVersion": 0}
            if await ground.call("PUT", f"/v1/active?projectId={PROJECT}", key, pins) != 200:
                raise BenchError("the sets to be compared were refused")
        path = f"/v1/active/diff?projectId={PROJECT}&old=1&new=2"
        await ground.repeat(4, partial(ground.call, "GET", path, key))


def _lines(seed: int) -> str:
    """Lines in a random order, each just rare enough to be compared with all others: the dearest case."""
    order = random.Random(seed)
    return "\n".join(f"{order.randrange(KINDS):02x}" for _ in range(DIFF_LINES))


async def _created(ground: Ground, key: str, kind: str, content: dict[str, Any]) -> str:
    body = {"name": f"{kind}-{uuid.uuid4().hex[:12]}", **content}
    headers = {**bearer(key), "x-user-id": "attacker"}
    async with ground.session.post(f"/api/hume/{kind}s", json=body, headers=headers) as answer:
        if answer.status != 201:
            raise BenchError(f"a {kind} for the attack was refused: {await answer.text()}")
        return str((await answer.json())[kind]["id"])


class TypeLists(Attack):
    """Tools with a list of twenty thousand types."""

    name, part = "type lists", "D"

    async def run(self, ground: Ground) -> None:
        key, names = (
            await ground.key("resources"),
            ("string", "number", "integer", "boolean", "null", "array", "object"),
        )
        types = list(itertools.islice(itertools.cycle(names), TYPES))
        nested = [{"type": types[:50]} for _ in range(500)]

        async def once() -> None:
            await ground.call("POST", TOOLS, key, tool({"type": types}))
            await ground.call("POST", TOOLS, key, tool({"anyOf": nested}))

        await ground.repeat(4, once)


class ExclamationChunks(Attack):
    """Answers whose one chunk is sixty thousand exclamation marks, each of which may end a sentence."""

    name, part = "chunks of `!`", "D"

    async def run(self, ground: Ground) -> None:
        key = await ground.key()
        await ground.repeat(4, partial(ground.ask, key, chat("exclaims")))


class ManyContainers(Attack):
    """8 connections of a key with 5 requests a minute, each body 250,000 JSON containers, refused as they are."""

    name, part = "250,000 containers", "D"

    async def run(self, ground: Ground) -> None:
        key = await ground.key(requests_per_minute=5)
        body = orjson.dumps(chat("brief", metadata=[[]])).replace(
            b"[[]]", b"[" + b",".join([b"[]"] * CONTAINERS) + b"]"
        )
        await ground.repeat(8, partial(ground.ask, key, body))
