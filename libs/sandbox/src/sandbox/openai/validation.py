"""What the chat endpoint refuses, with the messages and codes of the OpenAI API."""

import re
from collections.abc import Sequence
from typing import Any

from sandbox.openai.errors import ApiError, invalid

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGE_KEYS = frozenset(
    {
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "refusal",
        "audio",
        "function_call",
        "annotations",
    }
)
PART_TYPES = ("text", "image_url", "input_audio", "file", "refusal")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_STOPS = 4
MAX_CHOICES = 128
# (parameter, lowest, highest, whole numbers only)
RANGES = (
    ("temperature", 0, 2, False),
    ("top_p", 0, 1, False),
    ("presence_penalty", -2, 2, False),
    ("frequency_penalty", -2, 2, False),
    ("n", 1, MAX_CHOICES, True),
    ("max_tokens", 1, None, True),
    ("max_completion_tokens", 1, None, True),
    ("seed", None, None, True),
)
FORMATS = ("text", "json_object", "json_schema")


def check_chat(body: dict[str, Any]) -> None:
    """Raise ApiError for the first thing wrong with a chat request."""
    _check_numbers(body)
    _check_stream(body)
    _check_stop(body.get("stop"))
    _check_messages(body)
    _check_tools(body)
    _check_format(body)


def _wrong_type(param: str, expected: str, value: Any) -> ApiError:
    message = f"Invalid type for '{param}': expected {expected}, but got {_type_name(value)} instead."
    return invalid(message, param, "invalid_type")


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def _check_numbers(body: dict[str, Any]) -> None:
    for param, low, high, whole in RANGES:
        if body.get(param) is not None:
            _check_number(param, body[param], low, high, whole)
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise invalid("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")


def _check_number(param: str, value: Any, low: float | None, high: float | None, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise _wrong_type(param, "an integer" if whole else "a decimal", value)
    kind = "integer" if whole else "decimal"
    if low is not None and value < low:
        raise invalid(
            f"Invalid '{param}': {kind} below minimum value. Expected a value >= {low}, but got {value} instead.",
            param,
            f"{kind}_below_min_value",
        )
    if high is not None and value > high:
        raise invalid(
            f"Invalid '{param}': {kind} above maximum value. Expected a value <= {high}, but got {value} instead.",
            param,
            f"{kind}_above_max_value",
        )


def _check_stream(body: dict[str, Any]) -> None:
    stream, options = body.get("stream"), body.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong_type("stream", "a boolean", stream)
    if options is None:
        return
    if not stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise invalid(message, "stream_options")
    if not isinstance(options, dict):
        raise _wrong_type("stream_options", "an object", options)


def _check_stop(stop: Any) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, list) or not all(isinstance(each, str) for each in stop):
        raise _wrong_type("stop", "a string or an array of strings", stop)
    if len(stop) > MAX_STOPS:
        message = f"Invalid 'stop': array too long. Expected an array with maximum length {MAX_STOPS}."
        raise invalid(message, "stop", "array_above_max_length")


def _check_messages(body: dict[str, Any]) -> None:
    if "messages" not in body:
        raise invalid("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    messages = body["messages"]
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array."
        raise invalid(message, "messages", "empty_array")
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    _check_tool_turns(messages)


def _check_message(where: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise _wrong_type(where, "an object", message)
    unknown = next((key for key in message if key not in MESSAGE_KEYS), None)
    if unknown is not None:
        raise invalid(f"Unknown parameter: '{where}.{unknown}'.", f"{where}.{unknown}", "unknown_parameter")
    if message.get("role") not in ROLES:
        supported = ", ".join(f"'{role}'" for role in ROLES)
        text = f"Invalid value: '{message.get('role')}'. Supported values are: {supported}."
        raise invalid(text, f"{where}.role", "invalid_value")
    _check_content(where, message)
    _check_calls(where, message)


def _check_content(where: str, message: dict[str, Any]) -> None:
    content = message.get("content")
    may_lack = message["role"] == "assistant" and (message.get("tool_calls") or message.get("refusal"))
    if content is None and may_lack:
        return
    if content is None:
        text = f"Invalid value for 'content': expected a string, got null. ('{where}.content')"
        raise invalid(text, f"{where}.content")
    if not isinstance(content, str | list):
        raise _wrong_type(f"{where}.content", "one of a string or array of objects", content)
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict) or part.get("type") not in PART_TYPES:
            text = f"Invalid value at '{where}.content[{index}].type'."
            raise invalid(text, f"{where}.content[{index}].type", "invalid_value")


def _check_calls(where: str, message: dict[str, Any]) -> None:
    if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
        param = f"{where}.tool_call_id"
        raise invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list) or not calls or not all(_is_call(call) for call in calls):
        raise invalid(f"Invalid value for '{where}.tool_calls'.", f"{where}.tool_calls", "invalid_value")


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(call.get("id"), str):
        return False
    return isinstance(function.get("name"), str) and isinstance(function.get("arguments"), str)


def _check_tool_turns(messages: Sequence[dict[str, Any]]) -> None:
    """Every tool call is answered right after it, and every tool message answers one."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            _close_call(index, message["tool_call_id"], open_calls)
            continue
        _refuse_unanswered(open_calls)
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    _refuse_unanswered(open_calls)


def _close_call(index: int, call_id: str, open_calls: set[str]) -> None:
    if call_id not in open_calls:
        raise invalid(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with"
            " 'tool_calls'.",
            f"messages.[{index}].role",
        )
    open_calls.discard(call_id)


def _refuse_unanswered(open_calls: set[str]) -> None:
    if open_calls:
        raise invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
            f" 'tool_call_id'. The following tool_call_ids did not have response messages: {sorted(open_calls)}",
            "messages",
        )


def _check_tools(body: dict[str, Any]) -> None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is None:
        if choice not in (None, "none"):
            raise invalid("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
        return
    if not isinstance(tools, list):
        raise _wrong_type("tools", "an array of objects", tools)
    if not tools:
        message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array."
        raise invalid(message, "tools", "empty_array")
    names = {_tool_name(index, tool) for index, tool in enumerate(tools)}
    _check_choice(choice, names)


def _tool_name(index: int, tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or tool.get("type") != "function":
        param = f"tools[{index}].function"
        raise invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    name = function.get("name")
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        param = f"tools[{index}].function.name"
        text = f"Invalid '{param}': string does not match pattern. Expected a string that matches"
        raise invalid(f"{text} the pattern '^[a-zA-Z0-9_-]+$'.", param, "invalid_value")
    if not isinstance(function.get("parameters") or {}, dict):
        raise _wrong_type(f"tools[{index}].function.parameters", "an object", function["parameters"])
    return name


def _check_choice(choice: Any, names: set[str]) -> None:
    if choice is None or choice in ("none", "auto", "required"):
        return
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name is None:
        raise invalid("Invalid value for 'tool_choice'.", "tool_choice", "invalid_value")
    if name not in names:
        raise invalid(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")


def _check_format(body: dict[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in FORMATS:
        raise invalid("Invalid value for 'response_format.type'.", "response_format.type", "invalid_value")
    if kind == "json_object" and not _mentions_json(body["messages"]):
        raise invalid(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )
    if kind == "json_schema" and not isinstance((wanted.get("json_schema") or {}).get("schema"), dict):
        param = "response_format.json_schema.schema"
        raise invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _mentions_json(messages: Sequence[dict[str, Any]]) -> bool:
    return any("json" in str(message.get("content")).lower() for message in messages)
