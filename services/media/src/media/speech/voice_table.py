"""The voices that are built in: what each provider calls them, and which content they are for."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from media.speech_ports import Voice, slug


@dataclass(frozen=True, slots=True)
class VoiceTable:
    """All built-in voices by id, and which of them speaks which type of content."""

    voices: Mapping[str, Voice]
    content_types: Mapping[str, str]

    def find(self, name: str) -> Voice | None:
        """The voice with this id or name, or the one for this type of content."""
        wanted = slug(name)
        found = self.voices.get(wanted)
        return found or self.of_content(name)

    def of_content(self, content_type: str) -> Voice | None:
        """The voice for a type of content."""
        id = self.content_types.get(slug(content_type))
        return None if id is None else self.voices[id]


@cache
def voice_table() -> VoiceTable:
    """The table of the package. Raises ValueError where it contradicts itself."""
    return read_table(files("media.speech").joinpath("voices.toml").read_text())


def read_table(text: str) -> VoiceTable:
    """A table out of its TOML."""
    content = tomllib.loads(text)
    voices = {id: _voice(id, each) for id, each in content["voices"].items()}
    types = {slug(name): id for name, id in content["content_types"].items()}
    if unknown := set(types.values()) - voices.keys():
        raise ValueError(f"no such voices: {sorted(unknown)}")
    return VoiceTable(voices, types)


def _voice(id: str, given: Mapping[str, Any]) -> Voice:
    names = {provider: given[provider] for provider in ("hume", "openai", "local") if provider in given}
    return Voice(id, given["name"], names, description=given.get("description", ""))
