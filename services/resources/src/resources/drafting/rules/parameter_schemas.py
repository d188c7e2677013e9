"""What the parameters of a drafted tool may be: a small part of JSON Schema, complete in itself and bounded.

An allow-list of keywords: what a drafted tool needs can be said with them, and nothing unread can hide in them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator

from resources.drafting.rules import patterns, texts
from resources.drafting.rules.names import named, property_name, same_word
from resources.drafting.rules.reasons import Reason
from resources.drafting.rules.texts import joined

MAX_BYTES = 16 * 1024
MAX_DEPTH = 5
MAX_PROPERTIES = 20
MAX_ALL_PROPERTIES = 60
MAX_ENUM = 50
MAX_ENUM_CHARS = 100
# An example value, or a default: enough for a sentence, not for a document.
MAX_PAYLOAD = 256
MAX_PROSE = texts.MAX_LINE
# References multiply: a schema of a few lines can unfold into billions.
MAX_UNFOLDED = 500

DIALECTS = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema")
_PLAIN = frozenset(
    {
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "description",
        "title",
        "default",
        "examples",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "additionalProperties",
        "anyOf",
        "oneOf",
        "$ref",
        "$defs",
        "definitions",
        "$schema",
        "$comment",
    }
)
_IDENTIFIERS = frozenset(
    {"$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary"}
)
_TYPING = frozenset({"type", "enum", "const", "$ref", "anyOf", "oneOf"})
# These hold no prose, and their own rules are stricter.
_NOT_PROSE = frozenset({"$ref", "$schema", "pattern"})
_LOCAL = re.compile(r"#/(?:\$defs|definitions)/([A-Za-z0-9_]{1,64})")

Node = Mapping[str, Any]


def judged(schema: Node, inputs: Sequence[str]) -> Iterator[Reason]:
    """Everything wrong with the parameters of a tool that was asked to take `inputs`."""
    where = "parameters"
    if len(orjson.dumps(schema, option=orjson.OPT_PASSTHROUGH_DATETIME)) > MAX_BYTES:
        yield Reason("schema_too_large", where)
        return
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        yield Reason("schema_root", where)
    structure = list(_node(schema, where, 1))
    yield from structure
    yield from _all_properties(schema)
    yield from _texts(schema, where)
    references = list(_references(schema))
    yield from references
    if not structure and not references:
        yield from _valid(schema)
    yield from _inputs(schema, inputs)


def _valid(schema: Node) -> Iterator[Reason]:
    try:
        Draft202012Validator.check_schema(dict(schema))
    except (SchemaError, re.error, OverflowError, RecursionError, MemoryError):
        yield Reason("schema_invalid", "parameters")


def _inputs(schema: Node, inputs: Sequence[str]) -> Iterator[Reason]:
    properties = schema.get("properties")
    names = list(properties) if isinstance(properties, dict) else []
    for index, wanted in enumerate(inputs):
        if named(wanted) and not any(same_word(wanted, name) for name in names):
            yield Reason("input_missing", f"inputs.{index}")


# -- one schema and those inside of it -------------------------------------------------------------------------


def _node(node: object, where: str, depth: int) -> Iterator[Reason]:
    if not isinstance(node, dict):
        yield Reason("schema_invalid", where)
        return
    if depth > MAX_DEPTH:
        yield Reason("schema_too_deep", where)
        return
    for keyword in node:
        yield from _keyword(node, keyword, where)
    if not node.keys() & _TYPING:
        yield Reason("schema_untyped", where)
    for part, child in _children(node):
        yield from _node(child, joined(where, part), depth + 1)


def _keyword(node: Node, keyword: str, where: str) -> Iterator[Reason]:
    if keyword in _IDENTIFIERS:
        yield Reason("schema_identifier", where)
    elif keyword not in _PLAIN:
        yield Reason("schema_keyword", where)
    elif check := _CHECKS.get(keyword):
        yield from check(node, node[keyword], joined(where, keyword))


def _children(node: Node) -> Iterator[tuple[str, object]]:
    """Every schema directly inside of one, with its path."""
    for keyword in ("properties", "$defs", "definitions"):
        members = node.get(keyword)
        for name, child in members.items() if isinstance(members, dict) else ():
            yield name, child
    if "items" in node:
        yield "items", node["items"]
    if isinstance(node.get("additionalProperties"), dict):
        yield "additionalProperties", node["additionalProperties"]
    for keyword in ("anyOf", "oneOf"):
        choices = node.get(keyword)
        for index, child in enumerate(choices if isinstance(choices, list) else ()):
            yield f"{keyword}[{index}]", child


def _check_properties(node: Node, properties: object, where: str) -> Iterator[Reason]:
    if not isinstance(properties, dict):
        yield Reason("schema_invalid", where)
        return
    if len(properties) > MAX_PROPERTIES:
        yield Reason("schema_too_wide", where)
    for name in properties:
        yield from property_name(name, joined(where, name))
        yield from (Reason(code, joined(where, name)) for code in texts.identifier_faults(name))


def _check_required(node: Node, required: object, where: str) -> Iterator[Reason]:
    properties = node.get("properties")
    known = properties if isinstance(properties, dict) else {}
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield Reason("schema_invalid", where)
    elif not all(name in known for name in required):
        yield Reason("required_unknown", where)


def _check_enum(node: Node, values: object, where: str) -> Iterator[Reason]:
    if not isinstance(values, list) or not values:
        yield Reason("schema_invalid", where)
        return
    if len(values) > MAX_ENUM:
        yield Reason("enum_too_large", where)
    if not all(_scalar(value) for value in values):
        yield Reason("enum_value", where)


def _scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ENUM_CHARS
    return value is None or isinstance(value, bool | int | float)


def _check_payload(node: Node, value: object, where: str) -> Iterator[Reason]:
    if len(orjson.dumps(value)) > MAX_PAYLOAD:
        yield Reason("payload_too_large", where)


def _check_pattern(node: Node, pattern: object, where: str) -> Iterator[Reason]:
    code = patterns.fault(pattern) if isinstance(pattern, str) else "schema_invalid"
    if code:
        yield Reason(code, where)


def _check_dialect(node: Node, dialect: object, where: str) -> Iterator[Reason]:
    if not isinstance(dialect, str) or dialect.rstrip("#") not in DIALECTS:
        yield Reason("schema_dialect", where)


def _check_additional(node: Node, allowed: object, where: str) -> Iterator[Reason]:
    if not isinstance(allowed, bool | dict):
        yield Reason("schema_invalid", where)


_CHECKS: Mapping[str, Callable[[Node, object, str], Iterator[Reason]]] = {
    "properties": _check_properties,
    "required": _check_required,
    "enum": _check_enum,
    "default": _check_payload,
    "const": _check_payload,
    "examples": _check_payload,
    "pattern": _check_pattern,
    "$schema": _check_dialect,
    "additionalProperties": _check_additional,
}


def _all_properties(schema: Node) -> Iterator[Reason]:
    count = 0
    waiting: list[object] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            count += len(properties) if isinstance(properties, dict) else 0
            waiting.extend(child for _, child in _children(node))
    if count > MAX_ALL_PROPERTIES:
        yield Reason("schema_too_wide", "parameters")


# -- texts, wherever they are ----------------------------------------------------------------------------------


def _texts(value: object, where: str, keyword: str = "") -> Iterator[Reason]:
    """Every string below, keys of objects included, whatever role it plays."""
    if isinstance(value, str):
        found = texts.faults(value) if keyword not in _NOT_PROSE else texts.identifier_faults(value)
        codes = ["text_too_long"] if len(value) > MAX_PROSE else found
        yield from (Reason(code, where) for code in codes)
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from (Reason(code, joined(where, name)) for code in texts.identifier_faults(name[:MAX_PROSE]))
            yield from _texts(child, joined(where, name), name)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _texts(child, f"{where}[{index}]", keyword)


def prose(value: object) -> Iterator[str]:
    """The strings of a schema in the order in which a model reads them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from prose(child)
    elif isinstance(value, list):
        for child in value:
            yield from prose(child)


# -- references ------------------------------------------------------------------------------------------------


def definitions(schema: Node) -> dict[str, Any]:
    """What `$ref` may refer to, by name."""
    parts = [schema.get(keyword) for keyword in ("definitions", "$defs")]
    return {name: node for part in parts if isinstance(part, dict) for name, node in part.items()}


def target(reference: object) -> str | None:
    """The name of the definition a `$ref` refers to; None for anything else."""
    match = _LOCAL.fullmatch(reference) if isinstance(reference, str) else None
    return match[1] if match else None


def _references(schema: Node) -> Iterator[Reason]:
    known = definitions(schema)
    used = {name: list(_used(node)) for name, node in known.items()}
    root = [reference for part, child in _children(schema) if part not in known for reference in _used(child)]
    root += [schema["$ref"]] if "$ref" in schema else []
    codes = {code for references in (root, *used.values()) for code in _misdirected(references, known)}
    yield from (Reason(code, "parameters") for code in sorted(codes))
    graph = {name: [found for found in map(target, references) if found in used] for name, references in used.items()}
    if _circular(graph):
        yield Reason("ref_recursive", "parameters")
    elif _unfolded(graph, [found for found in map(target, root) if found in used]) > MAX_UNFOLDED:
        yield Reason("ref_expands", "parameters")


def _used(node: object) -> Iterator[object]:
    """Every `$ref` in a schema; it is no deeper than the draft may be."""
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        yield node["$ref"]
    for _, child in _children(node):
        yield from _used(child)


def _misdirected(references: Sequence[object], known: Mapping[str, Any]) -> Iterator[str]:
    for reference in references:
        name = target(reference)
        if reference == "#" or (isinstance(reference, str) and reference.startswith("#/properties")):
            yield "ref_recursive"
        elif name is None:
            yield "ref_remote"
        elif name not in known:
            yield "ref_unresolved"


def _circular(graph: Mapping[str, Sequence[str]]) -> bool:
    """Whether anything is left after taking away, again and again, what refers to nothing that is left."""
    left = dict(graph)
    while left:
        leaves = [name for name, uses in left.items() if not any(use in left for use in uses)]
        if not leaves:
            return True
        for name in leaves:
            del left[name]
    return False


def _unfolded(graph: Mapping[str, Sequence[str]], root: Sequence[str]) -> int:
    """How many references there are when each is replaced by what it refers to; `graph` has no circles."""
    sizes: dict[str, int] = {}
    while len(sizes) < len(graph):
        for name, uses in graph.items():
            if name not in sizes and all(use in sizes for use in uses):
                sizes[name] = 1 + sum(sizes[use] for use in uses)
    return sum(sizes[name] for name in root)
