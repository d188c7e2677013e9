"""What readers of events may rely on: old records open with new code, new records satisfy old schemas.

With `--update-data` missing sample records are written to tests/data/events; existing ones are kept, since they stand
for records that lie on somebody's log. Delete a file to have it written anew.
"""

from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from jsonschema.validators import validator_for

from common.docs.__main__ import REPOSITORY, SCHEMAS
from common.docs.asyncapi import ENVELOPE
from common.docs.schemas import label
from common.events.envelope import Event, open_event
from common.events.record import Partition, Received
from common.events.registry import BY_NAME, EVENTS
from common.events.spec import EventSpec, Payload
from tests.support.expected import DATA, Expected

SAMPLES = DATA / "events"

every_event = pytest.mark.parametrize("spec", EVENTS, ids=label)


def frozen(spec: EventSpec[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = orjson.loads((REPOSITORY / SCHEMAS / f"{label(spec)}.json").read_bytes())
    return schema


def validate(document: Any, schema: dict[str, Any]) -> None:
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)


def payloads(model: type[Payload]) -> list[Payload]:
    """The barest payload a model allows, and one with every field filled."""
    schema = model.model_json_schema(mode="validation")
    return [model.model_validate(example(schema, schema.get("$defs", {}), every=every)) for every in (False, True)]


def example(schema: dict[str, Any], definitions: dict[str, Any], *, every: bool) -> Any:
    """A value of a schema; with `every`, optional fields are there too."""
    if "$ref" in schema:
        return example(definitions[schema["$ref"].rpartition("/")[2]], definitions, every=every)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], definitions, every=every)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            others = schema.get("additionalProperties")
            fields = schema.get("properties", {"anything": others if isinstance(others, dict) else {"type": "string"}})
            wanted = fields if every else schema.get("required", [])
            return {name: example(fields[name], definitions, every=every) for name in wanted}
        case "array":
            return [example(schema["items"], definitions, every=every)]
        case "string":
            return "2026-11-21" if schema.get("format") == "date" else "voilà"
    return {"integer": 7, "number": 1.5, "boolean": True}[schema["type"]]


def current(spec: EventSpec[Any]) -> list[dict[str, Any]]:
    """What today's code publishes: the barest payload and the fullest."""
    envelope: dict[str, Any] = {"deadline": 2.5, "traceparent": "00-ab-cd-01", "reply_to": "sonant:live:gateway-0:1"}
    envelope["correlation_id"] = "req-0"
    return [
        as_stored(Event(spec, payload, id=f"event-{number}", time=1.5, request_id="req-1", **envelope))
        for number, payload in enumerate(payloads(spec.payload))
    ]


def as_stored(event: Event[Any]) -> dict[str, Any]:
    record = event.record()
    return {"key": record.key, "headers": dict(record.headers), "value": orjson.loads(record.value)}


def stored(spec: EventSpec[Any], expected: Expected) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = expected.sample(f"{SAMPLES.name}/{label(spec)}.json", lambda: current(spec))
    return samples


@every_event
def test_stored_records_open_with_todays_code_and_keep_every_field(spec: EventSpec[Any], expected: Expected) -> None:
    samples = stored(spec, expected)
    assert len(samples) >= 2, "the barest and the fullest payload"
    for sample in samples:
        received = Received(
            topic=spec.topic.name,
            key=sample["key"],
            value=orjson.dumps(sample["value"]),
            headers=sample["headers"],
            partition=Partition(spec.topic.name, 0),
            offset="1-0",
            timestamp=1.0,
        )
        assert BY_NAME[sample["headers"]["event-type"]] is spec
        assert contains(as_stored(open_event(received, spec)), sample)


def contains(new: Any, old: Any) -> bool:
    """Whether everything in `old` stands in `new`, which may have gained fields."""
    if isinstance(old, dict):
        return all(name in new and contains(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(contains, new, old))
    return bool(new == old)


@every_event
def test_stored_records_satisfy_the_frozen_schema(spec: EventSpec[Any], expected: Expected) -> None:
    for sample in stored(spec, expected):
        validate(sample["value"], frozen(spec))


@every_event
def test_todays_payloads_satisfy_the_frozen_schema(spec: EventSpec[Any]) -> None:
    for sample in current(spec):
        validate(sample["value"], frozen(spec))


@every_event
def test_fields_of_tomorrow_are_tolerated(spec: EventSpec[Any]) -> None:
    for sample in current(spec):
        newer = {**sample["value"], "field_of_tomorrow": {"deep": [1]}}
        validate(newer, frozen(spec))
        assert spec.payload.model_validate_json(orjson.dumps(newer)) == spec.payload.model_validate(sample["value"])


@every_event
def test_the_documented_envelope_is_what_travels(spec: EventSpec[Any]) -> None:
    for sample in current(spec):
        validate(sample["headers"], {**ENVELOPE, "additionalProperties": False})
        assert sample["headers"].keys() == ENVELOPE["properties"].keys()


@every_event
def test_the_frozen_schema_is_one(spec: EventSpec[Any]) -> None:
    schema = frozen(spec)
    validator_for(schema).check_schema(schema)


def test_every_sample_and_every_schema_belongs_to_an_event() -> None:
    names = {f"{label(spec)}.json" for spec in EVENTS}
    assert file_names(SAMPLES) == names
    assert file_names(REPOSITORY / SCHEMAS) == names


def file_names(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*.json")}
