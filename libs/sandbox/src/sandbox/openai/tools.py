"""Choosing tools and filling their arguments from the message and the schema."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox.openai.conversation import Conversation
from sandbox.openai.text import STOPWORDS, keywords, stem, words

# Verbs that open half of all tool names say nothing about which tool is meant.
_COMMON_VERBS = {stem(verb) for verb in ("get", "set", "fetch", "do", "run", "make", "lookup", "look", "tool")}
_MIN_DESCRIPTION_HITS = 2
# Sizes that cut keys, numbers, escapes and words rather than between them.
_CUTS = (1, 5, 2, 7, 3)
_MISSING = object()

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_QUOTED = re.compile(r"[\"“«']([^\"”»']{2,})[\"”»']")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_URL = re.compile(r"https?://[^\s\"'<>]+")
_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}|\btoday\b|\btomorrow\b|\btonight\b|\byesterday\b|"
    r"\b(?:next |this )?(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\bnext week\b",
    re.I,
)
_PLACE = re.compile(r"\b(?:in|at|for|to|from|near|of)\s+((?:[A-Z][\w'\u2019-]*)(?:[ ,]+[A-Z][\w'\u2019-]*)*)")
_PROPER = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][\w'\u2019-]*(?:\s+[A-Z][\w'\u2019-]*)*")
_FINDERS = (
    (("email", "mail"), _EMAIL),
    (("url", "link", "uri"), _URL),
    (("date", "day", "when"), _DATE),
    (("city", "location", "place", "country", "town", "region", "destination", "address"), _PLACE),
    (("name", "person", "customer", "who", "contact"), _PROPER),
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call: id, function name and its arguments as JSON text."""

    id: str
    name: str
    arguments: str

    def as_dict(self) -> dict[str, Any]:
        """Return the call as it stands in a message."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }

    def argument_pieces(self) -> list[str]:
        """Cut the arguments at awkward places; joined they are the arguments."""
        return list(_cut(self.arguments))


def _cut(text: str) -> Iterator[str]:
    position, turn = 0, 0
    while position < len(text):
        size = _CUTS[turn % len(_CUTS)]
        yield text[position : position + size]
        position, turn = position + size, turn + 1


def choose(body: dict[str, Any], conversation: Conversation, salt: str) -> list[ToolCall]:
    """Return the calls the model makes in this turn, none if it answers in words."""
    functions = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice") or "auto"
    if not functions or choice == "none" or conversation.last_role != "user" or conversation.prefix is not None:
        return []
    chosen = _chosen(functions, choice, conversation.last)
    if body.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    return [_call(function, conversation.last, f"{salt}{index}") for index, function in enumerate(chosen)]


def _chosen(functions: list[dict[str, Any]], choice: Any, text: str) -> list[dict[str, Any]]:
    if isinstance(choice, dict):
        return [each for each in functions if each["name"] == choice["function"]["name"]]
    subject = keywords(text)
    named = [each for each in functions if _name_words(each["name"]) & subject]
    if named:
        return named
    described = max(functions, key=lambda each: len(_description_words(each) & subject))
    if choice == "required" or len(_description_words(described) & subject) >= _MIN_DESCRIPTION_HITS:
        return [described]
    return []


def _name_words(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", name)
    return {stem(word) for word in words(spaced) if word not in STOPWORDS} - _COMMON_VERBS


def _description_words(function: dict[str, Any]) -> set[str]:
    return keywords(function.get("description") or "") - _COMMON_VERBS


def _call(function: dict[str, Any], text: str, salt: str) -> ToolCall:
    arguments = orjson.dumps(fill(function.get("parameters") or {}, text)).decode()
    digest = hashlib.blake2b(f"{salt}{function['name']}{arguments}".encode(), digest_size=12).hexdigest()
    return ToolCall(f"call_{digest}", function["name"], arguments)


def fill(schema: dict[str, Any], text: str) -> Any:
    """Return a value that fits the JSON schema, drawn from what was said where that is possible."""
    return _object(schema, _Evidence(text))


class _Evidence:
    """What a message offers: its numbers are handed out in order, each once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = {stem(word) for word in words(text)}
        self._numbers = [float(number) for number in _NUMBER.findall(text)]

    def number(self) -> float | None:
        return self._numbers.pop(0) if self._numbers else None


def _object(schema: dict[str, Any], evidence: _Evidence) -> dict[str, Any]:
    required = set(schema.get("required") or ())
    filled: dict[str, Any] = {}
    for name, property_schema in (schema.get("properties") or {}).items():
        value = _value(name, property_schema, evidence, needed=name in required)
        if value is not _MISSING:
            filled[name] = value
    return filled


def _value(name: str, schema: dict[str, Any], evidence: _Evidence, *, needed: bool) -> Any:
    found = _found(name, schema, evidence)
    if found is not _MISSING:
        return found
    if "default" in schema:
        return schema["default"] if needed else _MISSING
    return _stand_in(schema, evidence) if needed else _MISSING


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return next((each for each in kind if each != "null"), "null") if isinstance(kind, list) else str(kind)


def _found(name: str, schema: dict[str, Any], evidence: _Evidence) -> Any:
    """Return what the message says about a property, or _MISSING."""
    kind = _kind(schema)
    if "enum" in schema:
        return next((each for each in schema["enum"] if keywords(str(each)) & evidence.words), _MISSING)
    if kind in ("integer", "number"):
        number = evidence.number()
        return _MISSING if number is None else _numeric(kind, number)
    if kind == "boolean":
        return True if _name_words(name) & evidence.words else _MISSING
    return _found_text(name, evidence.text) if kind == "string" else _MISSING


def _numeric(kind: str, number: float) -> float:
    return int(number) if kind == "integer" or number.is_integer() else number


def _found_text(name: str, text: str) -> Any:
    lowered = name.lower()
    for hints, finder in _FINDERS:
        if any(hint in lowered for hint in hints):
            match = finder.search(text)
            return (match[1] if finder.groups else match[0]) if match else _MISSING
    quoted = _QUOTED.search(text)
    return quoted[1] if quoted else _MISSING


def _stand_in(schema: dict[str, Any], evidence: _Evidence) -> Any:
    """Return a valid value for a required property of which the message says nothing."""
    kind = _kind(schema)
    if "enum" in schema:
        return schema["enum"][0]
    if kind in ("integer", "number"):
        return _numeric(kind, float(schema.get("minimum", 1)))
    if kind == "array":
        return [_value("", schema.get("items") or {}, evidence, needed=True)]
    if kind == "object":
        return _object(schema, evidence)
    return {"boolean": False, "null": None}.get(kind, evidence.text.strip())
