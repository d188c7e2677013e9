"""Arguments are checked where that is cheap, in a worker process elsewhere, and never for long."""

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from common.kernel.worker_processes import WorkerProcesses
from llm_stream.tools.arguments import WrongArguments, checked, fault, is_cheap, readable

ANYTHING: dict[str, Any] = {"type": "object"}
TREE = {"type": "object", "properties": {"next": {"$ref": "#"}, "word": {"type": "string"}}}


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[WorkerProcesses]:
    workers = WorkerProcesses(modules=["llm_stream.tools.arguments"], size=1, seconds=0.3)
    yield workers
    await workers.close()


def typed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "arguments", "reason"),
    [
        (typed(n={"type": "integer"}), {"n": "1"}, "n: '1' is not of type 'integer'"),
        (typed(n={"enum": [1, 2]}), {"n": 3}, "n: 3 is not one of [1, 2]"),
        ({**typed(), "required": ["n"]}, {}, "'n' is a required property"),
        (typed(n={"type": "array", "items": typed(a={"type": "string"})}), {"n": [{"a": 1}]}, "n.0.a"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, {"n": 1}, None),
        (typed(n={"$ref": "#/$defs/none"}), {"n": 1}, "refers to something that is not in it"),
        (typed(n={"$ref": "http://127.0.0.1:1/schema"}), {"n": 1}, "refers to something that is not in it"),
        ({"$ref": "#"}, {"n": 1}, "leads back to itself"),
        (typed(n={"type": "string"}), {"n": ["x" * 100_000]}, " … "),
    ],
)
def test_the_first_fault_is_told(schema: dict[str, Any], arguments: dict[str, Any], reason: str | None) -> None:
    found = fault(schema, arguments)
    assert found is None if reason is None else found is not None and reason in found
    assert len(found or "") < 400


def test_what_is_dear_is_not_checked_on_the_loop() -> None:
    assert is_cheap(typed(a={"type": "string"}, b={"type": "number"}), {"a": "x", "b": 1})
    assert not is_cheap(TREE, {})
    assert not is_cheap(typed(a={"pattern": "(a+)+$"}), {"a": "x"})
    assert not is_cheap(typed(**{f"p{n}": {"type": "string"} for n in range(100)}), {f"p{n}": "x" for n in range(100)})
    assert not is_cheap(ANYTHING, orjson.loads('{"a":' * 240 + "1" + "}" * 240) | {"b": [0] * 3_000})


@pytest.mark.parametrize(
    ("schema", "arguments", "reason"),
    [
        (TREE, '{"next": {"next": {"word": "x"}}}', None),
        (TREE, '{"next": {"next": {"word": 1}}}', "next.next.word: 1 is not of type 'string'"),
        (typed(a={"pattern": "^(a+)+$"}), '{"a": "' + "a" * 40 + '!"}', "cannot be checked: it takes more than 0.3 s"),
        ({"$ref": "#"}, "{}", "leads back to itself"),
    ],
)
async def test_what_is_dear_is_checked_elsewhere(
    workers: WorkerProcesses, schema: dict[str, Any], arguments: str, reason: str | None
) -> None:
    if reason is None:
        assert await checked("org-1", schema, arguments, workers) == orjson.loads(arguments)
    else:
        with pytest.raises(WrongArguments) as wrong:
            await checked("org-1", schema, arguments, workers)
        assert reason in str(wrong.value)


@pytest.mark.parametrize("text", ["", "  ", "{}"])
async def test_no_arguments_are_an_empty_object(workers: WorkerProcesses, text: str) -> None:
    assert await checked("org-1", ANYTHING, text, workers) == {}
    assert readable(text) == "{}"


async def test_large_arguments_are_refused_without_being_read(workers: WorkerProcesses) -> None:
    began = time.thread_time()
    with pytest.raises(WrongArguments, match="larger than 65536 bytes"):
        await checked("org-1", ANYTHING, '{"a": "' + "x" * 1_000_000 + '"}', workers)
    assert time.thread_time() - began < 0.01
    for deep in ("[" * 60_000, '{"a":' * 2_000 + "1" + "}" * 2_000):
        with pytest.raises(WrongArguments):
            await checked("org-1", ANYTHING, deep, workers)
