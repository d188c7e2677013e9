"""The parameters of a tool: a JSON Schema in a string, valid, bounded and complete in itself."""

from collections.abc import Iterator
from typing import Any

import orjson
from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft7Validator, Draft202012Validator

# Models read it with every turn; more than this is no description of arguments.
MAX_SCHEMA_BYTES = 64 * 1024
# Deep enough for every hand-written schema, shallow enough for every recursive reader.
MAX_SCHEMA_DEPTH = 32

DRAFTS = {
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
    "http://json-schema.org/draft-07/schema": Draft7Validator,
}


def parameters(value: object) -> str:
    """The schema as a string, given as one or as an object; raises ValueError with the reason."""
    schema, text = _read(value)
    if len(text.encode(errors="surrogatepass")) > MAX_SCHEMA_BYTES:
        raise ValueError(f"must be at most {MAX_SCHEMA_BYTES} bytes")
    for node in _nodes(schema):
        _self_contained(node)
    _valid(schema)
    return text


def _read(value: object) -> tuple[dict[str, Any], str]:
    if not isinstance(value, str | dict):
        raise ValueError("must be a JSON Schema as a string or an object")
    try:
        schema = orjson.loads(value) if isinstance(value, str) else value
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, UnicodeEncodeError):
        raise ValueError("must be valid JSON") from None
    if not isinstance(schema, dict):
        raise ValueError("must be a JSON object")
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return schema, text


def _nodes(schema: object) -> Iterator[dict[str, Any]]:
    """Every object in it, without recursion; raises ValueError past `MAX_SCHEMA_DEPTH`."""
    waiting: list[tuple[object, int]] = [(schema, 1)]
    while waiting:
        node, depth = waiting.pop()
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if depth > MAX_SCHEMA_DEPTH and isinstance(node, dict | list):
            raise ValueError(f"must not be nested deeper than {MAX_SCHEMA_DEPTH}")
        if isinstance(node, dict):
            yield node
        waiting.extend((child, depth + 1) for child in children)


def _self_contained(node: dict[str, Any]) -> None:
    for keyword in ("$ref", "$dynamicRef"):
        target = node.get(keyword)
        if isinstance(target, str) and not target.startswith("#"):
            raise ValueError("must not refer to anything outside itself")


def _valid(schema: dict[str, Any]) -> None:
    if schema.get("type") != "object":
        raise ValueError("must be a schema of type 'object'")
    named = schema.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    draft = DRAFTS.get(named.rstrip("#")) if isinstance(named, str) else None
    if draft is None:
        raise ValueError("must be a schema of draft 2020-12 or 7")
    try:
        draft.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"is no valid JSON Schema: {error.message[:200]}") from None
    except Exception:  # noqa: BLE001 - whatever compiling a caller's pattern raises is the caller's to mend
        raise ValueError("is no valid JSON Schema: it cannot be checked, as with a pattern past all bounds") from None
