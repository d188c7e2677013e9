"""The reference of the models file: every key of every section."""

from types import ModuleType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from common.docs import sources
from common.docs.markdown import code, page, table
from common.docs.settings import type_text

HEADER = ("key", "values", "default", "meaning")
INTRO = (
    "The file that `SONANT_MODELS_FILE` names says which upstreams answer for a model alias. It is TOML. "
    "[Model aliases](../../docs/models.md) explains it with examples. A key that is not here is refused."
)
# The heading of each section, with the model that declares its keys.
SECTIONS = (
    ("[aliases.NAME]", "Alias"),
    ("[[aliases.NAME.upstreams]]", "Upstream"),
    ("price of an upstream", "Price"),
    ("tool_filler of an alias", "ToolFiller"),
)


def reference() -> str:
    """The page, in Markdown."""
    [(_, module)] = sources.load(sources.MODELS_FILE)
    return page("The models file", INTRO, *(_section(heading, getattr(module, name)) for heading, name in SECTIONS))


def keys(module: ModuleType) -> set[str]:
    """Every key that a section may have."""
    return {key for _, name in SECTIONS for key in getattr(module, name).model_fields}


def _section(heading: str, declared: type[BaseModel]) -> str:
    rows = [(code(name), _values(field), _default(field), _meaning(field)) for name, field in _fields(declared)]
    return f"## `{heading}`\n\n{table(HEADER, rows)}"


def _fields(declared: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return list(declared.model_fields.items())


def _values(field: FieldInfo) -> str:
    literals = [text for text in _literals(field.annotation) if isinstance(text, str)]
    if literals:
        return ", ".join(code(text) for text in sorted(literals))
    inner = [each for alternative in get_args(field.annotation) for each in getattr(alternative, "__metadata__", ())]
    declared = [*field.metadata, *(bound for each in inner for bound in getattr(each, "metadata", [each]))]
    bounds = [_bound(each) for each in declared]
    return ", ".join([_kind(field.annotation), *(bound for bound in bounds if bound)])


def _literals(annotation: Any) -> list[Any]:
    inner = [value for each in get_args(annotation) for value in _literals(each)]
    return inner if get_args(annotation) else ([annotation] if isinstance(annotation, str) else [])


def _kind(annotation: Any) -> str:
    kinds = {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}
    found = type_text(annotation).removesuffix(" | None")
    if found.startswith("tuple"):
        return "list"
    return kinds.get(found, "text" if "str" in found else "number" if "float" in found else "section")


def _bound(given: Any) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "min_length": "at least", "max_length": "at most"}
    told = [f"{word} {getattr(given, name)}" for name, word in words.items() if hasattr(given, name)]
    return ", ".join(told)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, BaseModel) or value is None or value in ((), frozenset()):
        return ""
    if isinstance(value, frozenset):
        return ", ".join(code(text) for text in sorted(value))
    return code(str(value).lower() if isinstance(value, bool) else str(value))


def _meaning(field: FieldInfo) -> str:
    """Raises ValueError where nobody says."""
    if not field.description:
        raise ValueError(f"a key of the models file has no text: {field}")
    return " ".join(field.description.split())
