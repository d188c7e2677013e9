"""The arguments of a call: JSON, of a bounded size, and as the tool's schema wants them.

What a check costs, whoever wrote the schema and the arguments choose. What is cheap by a count is checked here, and
everything else in a worker process (ADR 0019).
"""

from collections.abc import Mapping
from typing import Any

import orjson
from jsonschema.exceptions import ValidationError
from jsonschema.validators import Draft7Validator, Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from common.kernel.worker_processes import TooDear, WorkerProcesses, WorkersBusy
from llm_stream.upstream.values import MAX_WRITABLE_DEPTH, JsonObject

MAX_ARGUMENT_BYTES = 64 * 1024
# Nodes of the schema times nodes of the arguments: some milliseconds.
CHEAP = 2_000
# Their cost is not told by a count: they repeat a part of the schema, or search a text.
DEAR_KEYWORDS = frozenset({"$ref", "$dynamicRef", "$recursiveRef", "pattern", "patternProperties", "uniqueItems"})
DRAFT_7 = "http://json-schema.org/draft-07/schema"
MAX_REASON_CHARACTERS = 300


class WrongArguments(Exception):
    """The arguments cannot be used; the message says why, for the model that wrote them."""


async def checked(share: str, schema: JsonObject, text: str, workers: WorkerProcesses) -> JsonObject:
    """The arguments in `text`. Raises WrongArguments; `share` is the organisation whose call it is."""
    arguments = read(text)
    if is_cheap(schema, arguments):
        reason = fault(schema, arguments)
    else:
        reason = await _fault_elsewhere(share, schema, arguments, workers)
    if reason is not None:
        raise WrongArguments(f"The arguments do not fit the schema: {reason}.")
    return arguments


def read(text: str) -> JsonObject:
    """The object in a text; none at all stands for an empty one. Raises WrongArguments."""
    if len(text) > MAX_ARGUMENT_BYTES or len(encoded := text.encode(errors="replace")) > MAX_ARGUMENT_BYTES:
        raise WrongArguments(f"The arguments are larger than {MAX_ARGUMENT_BYTES} bytes.")
    try:
        arguments = orjson.loads(encoded) if encoded.strip() else {}
    except orjson.JSONDecodeError:
        raise WrongArguments("The arguments are not valid JSON.") from None
    if not isinstance(arguments, dict):
        raise WrongArguments("The arguments are not a JSON object.")
    if _nodes(arguments, MAX_ARGUMENT_BYTES) is None:
        raise WrongArguments("The arguments are nested too deeply.")
    return arguments


def readable(text: str) -> str:
    """Arguments as a model's server can read them again: where they are no JSON object, an empty one."""
    try:
        return text if read(text) else "{}"
    except WrongArguments:
        return "{}"


def is_cheap(schema: JsonObject, arguments: JsonObject) -> bool:
    """Whether the arguments can be checked on the event loop."""
    wanted = _nodes(schema, CHEAP, DEAR_KEYWORDS)
    given = _nodes(arguments, CHEAP)
    return wanted is not None and given is not None and wanted * given <= CHEAP


def _nodes(value: Any, most: int, dear: frozenset[str] = frozenset()) -> int | None:
    """How many values it consists of; None for more than `most`, for a dear keyword, and for what is very deep."""
    waiting, count = [(value, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if count + len(waiting) + len(children) > most or depth > MAX_WRITABLE_DEPTH:
            return None
        if dear and isinstance(node, dict) and not dear.isdisjoint(node):
            return None
        waiting.extend((child, depth + 1) for child in children)
    return count


async def _fault_elsewhere(
    share: str, schema: JsonObject, arguments: JsonObject, workers: WorkerProcesses
) -> str | None:
    try:
        return await workers.run(share, fault, schema, arguments)
    except TooDear as error:
        raise WrongArguments(f"The arguments cannot be checked: {error}.") from None
    except WorkersBusy:
        raise WrongArguments("The arguments cannot be checked now.") from None


def fault(schema: Mapping[str, Any], arguments: JsonObject) -> str | None:
    """The first thing that is wrong with the arguments; None where they fit."""
    named = schema.get("$schema")
    draft = Draft7Validator if isinstance(named, str) and named.rstrip("#") == DRAFT_7 else Draft202012Validator
    try:
        # Without a registry of our own a reference would be fetched from wherever it points to.
        first = next(draft(schema, registry=Registry()).iter_errors(arguments), None)
    except Unresolvable as error:
        return f"the schema refers to something that is not in it ({error.ref[:100]})"
    except RecursionError:
        return "the schema leads back to itself without end"
    return None if first is None else _reason(first)


def _reason(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    # A message quotes what it is about, which may be long.
    message = error.message
    if len(message) > MAX_REASON_CHARACTERS:
        message = f"{message[: MAX_REASON_CHARACTERS // 2]} … {message[-MAX_REASON_CHARACTERS // 2 :]}"
    return f"{where}: {message}" if where else message
