"""The reference of settings: every environment variable of every service."""

import re
from types import ModuleType
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from common.docs import sources
from common.docs.markdown import code, page, table

HEADER = ("variable", "type", "default", "meaning")
INTRO = "Every setting is read once, at start, from the environment."


def reference() -> str:
    """The page, in Markdown."""
    return page("Settings", INTRO, *(_section(heading, module) for heading, module in sources.load(sources.SETTINGS)))


def _section(heading: str, module: ModuleType) -> str:
    rows = [row for declared in declared_in(module) for row in _rows(declared)]
    return f"## {heading}\n\n{table(HEADER, rows)}" if rows else f"## {heading}\n\nNothing of its own."


def declared_in(module: ModuleType) -> list[type[BaseSettings]]:
    """The settings classes a module defines itself, in the order of the file."""
    return [
        member
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, BaseSettings) and member.__module__ == module.__name__
    ]


def _rows(declared: type[BaseSettings]) -> list[tuple[str, ...]]:
    inherited = {name for base in declared.__bases__ for name in getattr(base, "model_fields", {})}
    return [
        (
            code(variable(declared, name, field)),
            code(type_text(field.annotation)),
            default_text(field),
            field.description or "",
        )
        for name, field in declared.model_fields.items()
        if name not in inherited
    ]


def variable(declared: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """The environment variable of a field; the first one where it has several."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    prefixed = f"{declared.model_config.get('env_prefix', '')}{name}".upper()
    return alias.upper() if isinstance(alias, str) else prefixed


def type_text(annotation: Any) -> str:
    """A type as one would write it, without its modules: `tuple[str, ...]`, `Path | None`."""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    return re.sub(r"[\w.]+\.(?=\w)", "", str(annotation))


def default_text(field: FieldInfo) -> str:
    """The default as text; computed ones by the name of what computes them, never by their value here."""
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return f"computed: {field.default_factory.__name__}"
    return code("" if field.default is None else str(field.default))
