"""Schemas as generators of clients want them: without what only a form would show, and with whole bounds."""

import json
from typing import Any

# Maps of names to schemas: their keys are no keywords.
NAMED = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
# What holds values and not schemas.
VALUES = frozenset({"default", "const", "enum", "examples", "required"})


def plain(schema: Any) -> Any:
    """A schema without titles (generators make a type of each), without `default: null`, and with whole bounds."""
    if isinstance(schema, list):
        return [plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _value(key, value) for key, value in schema.items() if _is_said(key, value)}


def _is_said(key: str, value: Any) -> bool:
    return key != "title" and not (key == "default" and value is None)


def _value(key: str, value: Any) -> Any:
    if key in NAMED:
        return {name: plain(inner) for name, inner in value.items()}
    if key in BOUNDS and isinstance(value, float) and value.is_integer():
        return int(value)
    return value if key in VALUES else plain(value)


def body(schema: Any) -> Any:
    """A plain schema of a body: its defaults are told in words, since generators take what has one for required."""
    if isinstance(schema, list):
        return [body(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: value if key in VALUES else body(value) for key, value in schema.items()}
    if "properties" in told:
        told["properties"] = {name: _in_words(inner) for name, inner in told["properties"].items()}
    return told


def _in_words(schema: Any) -> Any:
    if "default" not in schema:
        return schema
    kept = {key: value for key, value in schema.items() if key != "default"}
    words = f"Where it is left out: `{json.dumps(schema['default'])}`."
    return {**kept, "description": f"{kept['description']} {words}" if "description" in kept else words}


def never_null(schema: Any) -> Any:
    """The schema of what is left out rather than null, as a parameter of a query is."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    kept = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(options) == 1:
        return {**kept, **options[0]}
    return {**kept, "anyOf": options} if options else kept
