"""What a config points at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.events.resource_terms import Kind


@dataclass(frozen=True, slots=True)
class Reference:
    """A resource that a config names in the field `param`."""

    kind: Kind
    id: str
    version: int | None
    param: str


def references(config: Mapping[str, Any]) -> Iterator[Reference]:
    """What must exist for a checked config; voices by name and of the provider's library are the provider's matter."""
    prompt, voice = config.get("prompt") or {}, config.get("voice") or {}
    if "id" in prompt:
        yield Reference("prompt", prompt["id"], prompt.get("version"), "prompt")
    if "id" in voice and voice["provider"] == "CUSTOM_VOICE":
        yield Reference("voice", voice["id"], None, "voice")
    for index, tool in enumerate(config.get("tools") or ()):
        yield Reference("tool", tool["id"], tool.get("version"), f"tools.{index}")
