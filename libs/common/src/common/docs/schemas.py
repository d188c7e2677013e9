"""The wire schema of every event as JSON Schema, and whether a new one keeps its promise to readers of the old."""

from collections.abc import Iterator, Mapping
from typing import Any

from common.events.registry import EVENTS
from common.events.spec import EventSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What may change freely: it means nothing to a validator.
ANNOTATIONS = frozenset({"title", "description", "default", "examples"})


def label(spec: EventSpec[Any]) -> str:
    """The event's name where `/` is not welcome: `chat.reply.completed.v1`."""
    return f"{spec.type}.v{spec.version}"


def schema(spec: EventSpec[Any]) -> dict[str, Any]:
    """The schema of the payload on the wire (JSON Schema 2020-12).

    Absent optional fields are left out when publishing, so only fields without a default are required.
    """
    body = spec.payload.model_json_schema(mode="validation")
    return {"$schema": DIALECT, "$id": f"urn:sonant:event:{spec.type}:{spec.version}", **body}


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by file name."""
    return {f"{label(spec)}.json": schema(spec) for spec in EVENTS}


def breaches(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """Where `new` breaks with `old`, one sentence each: only optional fields may be added.

    Definitions are compared where they are referred to: their names do not travel.
    """
    if not at:
        old, new = _whole(old), _whole(new)
    if at.endswith("/anyOf") and len(old) == len(new):
        # Such as an object or nothing: the object may grow like any other.
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from breaches(*pair, f"{at}/{number}")
        return
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        if _canonical(old) != _canonical(new):
            yield f"{at or '/'} was {old!r} and is {new!r}"
        return
    open_ended = at.endswith("/properties")
    names = [name for name in {**old, **new} if open_ended or name not in ANNOTATIONS]
    for name in names:
        if name in old and name in new:
            yield from breaches(old[name], new[name], f"{at}/{name}")
        elif name in old or not open_ended:
            yield f"{at}/{name} was {'removed' if name in old else 'added'}"


def _whole(schema: Any, definitions: Mapping[str, Any] | None = None) -> Any:
    """A schema with every reference replaced by its definition. Payloads do not refer to themselves."""
    if isinstance(schema, list):
        return [_whole(item, definitions) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    known = schema.get("$defs", {}) if definitions is None else definitions
    if "$ref" in schema:
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return _whole({**known[schema["$ref"].removeprefix("#/$defs/")], **beside}, known)
    return {name: _whole(value, known) for name, value in schema.items() if name != "$defs"}


def _canonical(value: Any) -> Any:
    """The value without annotations and without the order of names in `required`."""
    if isinstance(value, Mapping):
        return {name: _canonical(item) for name, item in value.items() if name not in ANNOTATIONS}
    if isinstance(value, list):
        items = [_canonical(item) for item in value]
        return sorted(items) if all(isinstance(item, str) for item in items) else items
    return value
