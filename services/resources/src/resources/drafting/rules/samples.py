"""The dry run of a drafted tool: arguments made from its schema fit it, and wrong ones do not.

The schema has passed its own rules before: it is bounded, has no circles and no pattern that takes long.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema.validators import Draft202012Validator

from resources.drafting.rules import patterns
from resources.drafting.rules.parameter_schemas import definitions, target
from resources.drafting.rules.reasons import Reason
from resources.drafting.rules.texts import joined

# Arguments of more parts than this are no dry run any more.
MAX_PARTS = 1_000
TEXT = "sample"
FORMATS: Mapping[str, str] = {
    "date": "2025-01-31",
    "time": "12:30:00Z",
    "date-time": "2025-01-31T12:30:00Z",
    "duration": "PT30M",
    "email": "someone@example.com",
    "hostname": "www.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# One of each type; whatever a property says about itself, it cannot mean all of them.
ANYTHING: tuple[Any, ...] = (None, True, -0.5, "\x7f", [], {}, [None, None], {"\x7f": None})

Node = Mapping[str, Any]


class _Impossible(Exception):
    """No value can be made."""


def judged(schema: Node) -> Iterator[Reason]:
    """What the dry run finds."""
    validator = Draft202012Validator(dict(schema))
    try:
        samples = [_Maker(schema, everything=everything).value(schema) for everything in (False, True)]
    except (_Impossible, patterns.Unsupported):
        samples = []
    if not samples or not all(validator.is_valid(sample) for sample in samples):
        yield Reason("sample_invalid", "parameters")
        return
    if validator.is_valid([]) or not _refused_without_required(validator, schema, samples[0]):
        yield Reason("sample_not_refused", "parameters")
    for name in schema["properties"]:
        if all(validator.is_valid({**samples[1], name: wrong}) for wrong in ANYTHING):
            yield Reason("sample_not_refused", joined("parameters.properties", name))


def _refused_without_required(validator: Draft202012Validator, schema: Node, sample: Node) -> bool:
    without = [{key: value for key, value in sample.items() if key != name} for name in schema.get("required", ())]
    return not any(validator.is_valid(wrong) for wrong in without)


class _Maker:
    """Makes one value; with `everything` of every property, else of the required ones."""

    def __init__(self, schema: Node, *, everything: bool) -> None:
        self._definitions = definitions(schema)
        self._everything = everything
        self._left = MAX_PARTS

    def value(self, node: Node, index: int = 0) -> Any:
        """A value for a schema; different ones for different `index`, where the schema leaves a choice."""
        self._left -= 1
        if self._left < 0:
            raise _Impossible
        if "$ref" in node:
            return self.value(self._definitions[target(node["$ref"]) or ""], index)
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return node["enum"][index % len(node["enum"])]
        choices = [*node.get("anyOf", ()), *node.get("oneOf", ())]
        if choices:
            return self.value(choices[0], index)
        return self._typed(node, index)

    def _typed(self, node: Node, index: int) -> Any:
        kind = node["type"] if isinstance(node["type"], str) else node["type"][0]
        if kind == "object":
            return self._object(node)
        if kind == "array":
            return self._array(node)
        if kind == "string":
            return _string(node, index)
        if kind in ("integer", "number"):
            return _number(node, index, whole=kind == "integer")
        return None if kind == "null" else index % 2 == 0

    def _object(self, node: Node) -> dict[str, Any]:
        properties = node.get("properties", {})
        wanted = properties if self._everything else node.get("required", ())
        return {name: self.value(properties[name]) for name in wanted}

    def _array(self, node: Node) -> list[Any]:
        least = node.get("minItems", 0)
        count = max(least, min(1, node.get("maxItems", 1)) if self._everything else 0)
        if count > MAX_PARTS:
            raise _Impossible
        return [self.value(node.get("items", {"type": "string"}), index) for index in range(int(count))]


def _string(node: Node, index: int) -> str:
    least = int(node.get("minLength", 0))
    if least > patterns.MAX_SAMPLE_CHARS:
        raise _Impossible
    if "pattern" in node:
        options = [patterns.sample(node["pattern"], least), *_given(node)]
    else:
        suffix = str(index) if index else ""
        text = FORMATS.get(node.get("format", ""), TEXT[: node.get("maxLength", len(TEXT))])
        options = [text.ljust(least, "x") + suffix]
    valid = Draft202012Validator({key: value for key, value in node.items() if key != "$schema"}).is_valid
    return next((option for option in options if valid(option)), options[0])


def _given(node: Node) -> list[str]:
    """Values the draft itself gives as fitting."""
    return [value for value in (*node.get("examples", ()), node.get("default")) if isinstance(value, str)]


def _number(node: Node, index: int, *, whole: bool) -> float:
    step = node.get("multipleOf", 1)
    if whole and not float(step).is_integer():
        step = 1
    low, high = _limit(node, "minimum", "exclusiveMinimum"), _limit(node, "maximum", "exclusiveMaximum")
    value = math.ceil(low / step) * step if low is not None else 0
    if low is None and high is not None:
        value = min(0, math.floor(high / step) * step)
    if value == node.get("exclusiveMinimum") or value == node.get("exclusiveMaximum"):
        value += step if low is not None else -step
    value += index * step
    if high is not None and value > high and low is not None:
        value = (low + high) / 2
    return int(value) if whole else value


def _limit(node: Node, inclusive: str, exclusive: str) -> float | None:
    given = [node[keyword] for keyword in (inclusive, exclusive) if keyword in node]
    if not given:
        return None
    limit: float = max(given) if inclusive == "minimum" else min(given)
    return limit
