"""The provider's objects as items, and the mark by which a repeated command knows what it made."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from hume.core.pydantic_utilities import UniversalBaseModel

from common.events.resource_terms import Kind
from resources.ports import Item

CONTENT: Mapping[Kind, tuple[str, ...]] = {
    "prompt": ("text", "prompt_expansion"),
    "tool": ("parameters", "description", "fallback_content"),
    "voice": ("provider", "compatible_octave_models"),
    "config": (
        "evi_version",
        "prompt",
        "voice",
        "language_model",
        "ellm_model",
        "tools",
        "builtin_tools",
        "event_messages",
        "timeouts",
        "nudges",
        "turn_detection",
        "interruption",
        "webhooks",
    ),
}
_MARK = re.compile(r" ?\[op [0-9a-f]{16}\]$")


def marked(description: str, event_id: str) -> str:
    """The description with the mark of the command at its end: the provider has no idempotency key."""
    return f"{description} {_mark(event_id)}".lstrip()


def is_marked(shown: UniversalBaseModel, event_id: str) -> bool:
    """Whether this command made the version."""
    return (getattr(shown, "version_description", None) or "").endswith(_mark(event_id))


def _mark(event_id: str) -> str:
    return f"[op {hashlib.sha256(event_id.encode()).hexdigest()[:16]}]"


def item(kind: Kind, shown: UniversalBaseModel, version_type: str = "FIXED") -> Item:
    """A version as the provider shows it. Voices carry no times there: 0."""
    fields = _storable(shown.model_dump(mode="json", exclude_none=True))
    content = {name: fields[name] for name in CONTENT[kind] if name in fields}
    return Item(
        kind=kind,
        id=fields["id"],
        name=fields["name"],
        version=fields.get("version", 0),
        created_on=fields.get("created_on", 0),
        modified_on=fields.get("modified_on", 0),
        content=_referring(content) if kind == "config" else content,
        version_description=_MARK.sub("", fields.get("version_description", "")),
        version_type=version_type,
    )


def _storable(value: Any) -> Any:
    """Without the one character that PostgreSQL cannot keep."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {name: _storable(each) for name, each in value.items()}
    return [_storable(each) for each in value] if isinstance(value, list) else value


def whole(kind: Kind, shown: UniversalBaseModel) -> bool:
    """Whether it has what an item needs: the library takes every field of a config for optional."""
    needed = ("id", "name") if kind == "voice" else ("id", "name", "version", "created_on", "modified_on")
    return all(getattr(shown, name, None) is not None for name in needed)


def _referring(config: dict[str, Any]) -> dict[str, Any]:
    """A config comes back with the whole prompt, tools and voice in it; it is made of references."""
    if "prompt" in config:
        config["prompt"] = _prompt(config["prompt"])
    if "tools" in config:
        config["tools"] = [_reference(tool) for tool in config["tools"] if tool is not None]
    if "builtin_tools" in config:
        named = ("name", "fallback_content")
        config["builtin_tools"] = [_some(tool, named) for tool in config["builtin_tools"] if tool is not None]
    if "voice" in config:
        voice = config["voice"]
        config["voice"] = _some(voice, ("provider", "id" if voice.get("id") else "name"))
    return config


def _prompt(shown: dict[str, Any]) -> dict[str, Any]:
    # One without a name was given with the config, as a text.
    return _reference(shown) if shown.get("name") else _some(shown, ("text", "prompt_expansion"))


def _reference(shown: dict[str, Any]) -> dict[str, Any]:
    follows = shown.get("version_type") == "LATEST"
    return {"id": shown["id"]} if follows else _some(shown, ("id", "version"))


def _some(shown: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: shown[name] for name in names if name in shown}
