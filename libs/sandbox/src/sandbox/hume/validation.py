"""What the Hume stand-in refuses: wrong shapes and numbers outside the documented ranges, as 400."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from sandbox.hume.accounts import Kind
from sandbox.hume.errors import invalid

Check = Callable[[str, Any], None]

EVI_VERSIONS = ("3", "4-mini")
MODEL_PROVIDERS = (
    "AMAZON_BEDROCK",
    "ANTHROPIC",
    "CEREBRAS",
    "CUSTOM_LANGUAGE_MODEL",
    "FIREWORKS",
    "GOOGLE",
    "GROQ",
    "HUME_AI",
    "OPEN_AI",
    "PERPLEXITY",
    "SAMBANOVA",
    "X_AI",
)
VOICE_PROVIDERS = ("HUME_AI", "CUSTOM_VOICE")
BUILTIN_TOOLS = ("web_search", "hang_up")
WEBHOOK_EVENTS = ("chat_started", "chat_ended", "tool_call")


def text(where: str, value: Any) -> None:
    """A string; the provider documents no lengths."""
    if not isinstance(value, str):
        raise invalid(f"{where} must be a string")


def name(where: str, value: Any) -> None:
    """A string that says something."""
    text(where, value)
    if not value.strip():
        raise invalid(f"{where} must not be empty")


def number(low: float, high: float) -> Check:
    """A number between two bounds, both allowed."""

    def check(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid(f"{where} must be a number")
        if not low <= value <= high:
            raise invalid(f"{where} must be between {low:g} and {high:g}")

    return check


def flag(where: str, value: Any) -> None:
    """A boolean."""
    if not isinstance(value, bool):
        raise invalid(f"{where} must be true or false")


def one_of(*values: str) -> Check:
    """One of some strings."""

    def check(where: str, value: Any) -> None:
        if value not in values:
            raise invalid(f"{where} must be one of {', '.join(values)}")

    return check


def members(required: tuple[str, ...] = (), **checks: Check) -> Check:
    """An object; members that are null count as absent, unknown ones are ignored."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise invalid(f"{where} must be an object", "E0101")
        for each in required:
            if value.get(each) is None:
                raise invalid(f"{where}.{each} is required")
        for each, inner in checks.items():
            if value.get(each) is not None:
                inner(f"{where}.{each}", value[each])

    return check


def array(inner: Check) -> Check:
    """A list."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, list):
            raise invalid(f"{where} must be an array", "E0101")
        for position, each in enumerate(value):
            inner(f"{where}[{position}]", each)

    return check


def schema(where: str, value: Any) -> None:
    """A JSON Schema of an object, as a string."""
    text(where, value)
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise invalid(f"{where} must be a JSON document in a string") from None
    if not isinstance(parsed, dict):
        raise invalid(f"{where} must hold a JSON object")


def https_url(where: str, value: Any) -> None:
    """An https address."""
    text(where, value)
    if urlsplit(value).scheme != "https":
        raise invalid(f"{where} must be an https URL")


def voice(where: str, value: Any) -> None:
    """A provider with an id or a name."""
    members(("provider",), provider=one_of(*VOICE_PROVIDERS), id=text, name=text)(where, value)
    if value.get("id") is None and value.get("name") is None:
        raise invalid(f"{where} needs an id or a name")


_REFERENCE = members(("id",), id=text, version=number(0, 10**9))
_EXPANSION = members(("enabled",), enabled=flag)
_MESSAGE = members(("enabled",), enabled=flag, text=text)
_TIMEOUT = members(("enabled",), enabled=flag, duration_secs=number(1, 1800))
_PROMPT: dict[str, Check] = {"text": text, "prompt_expansion": _EXPANSION}
_TOOL: dict[str, Check] = {"parameters": schema, "description": text, "fallback_content": text}
_CONFIG: dict[str, Check] = {
    "evi_version": one_of(*EVI_VERSIONS),
    "prompt": members((), id=text, version=number(0, 10**9), text=text, prompt_expansion=_EXPANSION),
    "voice": voice,
    "language_model": members(
        ("model_provider", "model_resource"),
        model_provider=one_of(*MODEL_PROVIDERS),
        model_resource=text,
        temperature=number(0, 1),
    ),
    "ellm_model": members((), allow_short_responses=flag),
    "tools": array(_REFERENCE),
    "builtin_tools": array(members(("name",), name=one_of(*BUILTIN_TOOLS), fallback_content=text)),
    "event_messages": members(
        (), on_new_chat=_MESSAGE, on_inactivity_timeout=_MESSAGE, on_max_duration_timeout=_MESSAGE
    ),
    "timeouts": members((), inactivity=_TIMEOUT, max_duration=_TIMEOUT),
    "nudges": members((), enabled=flag, interval_secs=number(1, 600)),
    "turn_detection": members(
        (),
        end_of_turn_silence_ms=number(500, 3000),
        prefix_padding_ms=number(0, 1000),
        speech_detection_threshold=number(0, 1),
    ),
    "interruption": members((), min_interruption_ms=number(50, 2000)),
    "webhooks": array(members(("url", "events"), url=https_url, events=array(one_of(*WEBHOOK_EVENTS)))),
}
CONTENT: Mapping[Kind, Mapping[str, Check]] = {"prompt": _PROMPT, "tool": _TOOL, "config": _CONFIG}
_REQUIRED: Mapping[Kind, tuple[str, ...]] = {"prompt": ("text",), "tool": ("parameters",), "config": ("evi_version",)}


def check_new(kind: Kind, body: dict[str, Any]) -> None:
    """The body that creates a resource."""
    members(("name",), name=name)("body", body)
    check_version(kind, body)


def check_version(kind: Kind, body: dict[str, Any]) -> None:
    """The body that adds a version."""
    members(_REQUIRED[kind], version_description=text, **CONTENT[kind])("body", body)


def check_description(body: dict[str, Any]) -> None:
    """The body that describes a version."""
    members((), version_description=text)("body", body)


def check_name(body: dict[str, Any]) -> None:
    """The body that renames a resource."""
    members(("name",), name=name)("body", body)
