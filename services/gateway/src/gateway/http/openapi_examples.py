"""Examples in the OpenAPI document: what "Try it out" sends as it stands, on an installation with nothing in it."""

from importlib.resources import files
from typing import Any

import orjson

# By method and path as the document has them.
BODIES: dict[str, Any] = orjson.loads(files("gateway.http").joinpath("request_examples.json").read_bytes())
# Of path variables and headers that have a meaning without something that was made before.
PARAMETERS = {
    "dialect": "vapi",
    "session_id": "call-1",
    "model": "default",
    "version": "0",
    "interaction_id": "01990000-0000-7000-8000-000000000000",
    "x-user-id": "user-123",
}


def body_example(method: str, path: str) -> dict[str, Any]:
    """As a member of a media type object; nothing where there is none."""
    found = BODIES.get(f"{method} {path}")
    return {} if found is None else {"example": found}


def parameter_example(name: str) -> dict[str, Any]:
    """As a member of a parameter object."""
    return {"example": PARAMETERS[name.lower()]} if name.lower() in PARAMETERS else {}
