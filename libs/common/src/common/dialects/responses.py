"""OpenAI's Responses API, the reading half: a request for a response as a chat request.

What only a server with a memory or with tools of its own can do is refused by name, never left out in silence.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from common.dialects.reading import JsonObject, member
from common.failures import Refused

# Named as both APIs name them.
SAME = (
    "model",
    "stream",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
)
RENAMED = {"max_output_tokens": "max_completion_tokens"}
# Of all items together. A long conversation has a few for each message.
MAX_PARTS = 10_000
# What needs a store of earlier conversations, prompts or jobs.
NEEDS_STORE = {
    "previous_response_id": "Responses are not stored here: send the whole conversation in 'input'.",
    "conversation": "Conversations are not stored here: send the whole conversation in 'input'.",
    "prompt": "Stored prompts are not taken from here: send 'instructions', or use an active set.",
    "background": "Responses are not made in the background: leave it out, and stream.",
}
# What can be left out of a history without changing its sense: how a model came to what it said.
LEFT_OUT = frozenset({"reasoning"})
ROLES = ("user", "assistant", "system", "developer")
# What platforms and callers add to a message.
KEPT: Sequence[str] = ("models", "time", "name")
TEXTS = frozenset({"input_text", "output_text", "text"})
NAMED_CHOICES = frozenset({"auto", "none", "required"})


def chat_request(body: JsonObject) -> JsonObject:
    """The chat request that asks for the same. `body` has the right types at its top.

    Raises Refused (400) that names what cannot be served.
    """
    for name, why in NEEDS_STORE.items():
        if body.get(name):
            raise _refused(name, why, "unsupported_parameter")
    chat = {name: body[name] for name in SAME if body.get(name) is not None}
    chat |= {new: body[old] for old, new in RENAMED.items() if body.get(old) is not None}
    chat["messages"] = _messages(body)
    if tools := body.get("tools"):
        chat["tools"] = [_tool(tool, f"tools.{at}") for at, tool in enumerate(tools)]
    if (choice := body.get("tool_choice")) is not None:
        chat["tool_choice"] = _tool_choice(choice)
    if (effort := member(body, "reasoning", "effort")) is not None:
        chat["reasoning_effort"] = effort
    if (most := body.get("top_logprobs")) is not None:
        chat |= {"logprobs": True, "top_logprobs": most}
    if body.get("stream"):
        # The last event of a response tells its usage.
        chat["stream_options"] = {"include_usage": True}
    return chat | _text_options(body.get("text") or {})


def told_of(body: JsonObject) -> JsonObject:
    """What the writing half needs to know beside the chat request."""
    told: JsonObject = {name: body[name] for name in ("metadata", "truncation", "reasoning") if body.get(name)}
    return {**told, "instructions": True} if body.get("instructions") else told


def _refused(param: str, why: str, code: str = "unsupported_value") -> Refused:
    return Refused(400, f"Invalid '{param}': {why}", code, param)


def _text_options(text: JsonObject) -> JsonObject:
    options: JsonObject = {}
    if text.get("verbosity") is not None:
        options["verbosity"] = text["verbosity"]
    wanted = text.get("format") or {"type": "text"}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        schema = {name: value for name, value in wanted.items() if name != "type"}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        options["response_format"] = {"type": "json_object"}
    elif kind != "text":
        raise _refused("text.format", "only 'text', 'json_object' and 'json_schema' are served.")
    return options


def _tool(tool: JsonObject, param: str) -> JsonObject:
    if tool.get("type") != "function":
        raise _refused(f"{param}.type", "only function tools are served; the caller runs them.")
    if not isinstance(tool.get("name"), str):
        raise Refused(400, f"Invalid '{param}.name': a function has a name.", "missing_required_parameter", param)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _tool_choice(choice: str | JsonObject) -> str | JsonObject:
    if isinstance(choice, str) and choice in NAMED_CHOICES:
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    raise _refused("tool_choice", "only 'auto', 'none', 'required' or one function are served.")


# -- the input ---------------------------------------------------------------------------------------------------


def _messages(body: JsonObject) -> list[JsonObject]:
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    _check_parts(items)
    messages = list(_paired(items))
    if not messages:
        raise Refused(400, "Invalid 'input': it says nothing.", "invalid_value", "input")
    if instructions := body.get("instructions"):
        messages.insert(0, {"role": "system", "content": instructions})
    return messages


def _check_parts(items: Sequence[JsonObject]) -> None:
    """Each part is looked at and written anew: very many would hold up all others."""
    lists = (item.get(name) for item in items for name in ("content", "output"))
    parts = sum(len(each) for each in lists if isinstance(each, list))
    if parts > MAX_PARTS:
        message = f"Too many parts: {parts}, at most {MAX_PARTS} are accepted."
        raise Refused(400, message, "too_many_parts", "input")


def _paired(items: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """The messages of the items; what the assistant says and calls in a row is one message, as chat has it."""
    said: JsonObject | None = None
    for at, item in enumerate(items):
        message = _message(item, f"input.{at}")
        if message is None:
            continue
        if said is not None and message.get("role") == "assistant" and "tool_calls" in message:
            said.setdefault("tool_calls", []).extend(message["tool_calls"])
            continue
        if said is not None:
            yield said
        said = message if message.get("role") == "assistant" else None
        if said is None:
            yield message
    if said is not None:
        yield said


def _message(item: JsonObject, param: str) -> JsonObject | None:
    """A chat message, or a piece of one; None for an item without a meaning there."""
    kind = item.get("type", "message")
    if kind == "message":
        kept = {name: item[name] for name in KEPT if name in item}
        role, content = item.get("role"), item.get("content")
        if role not in ROLES:
            raise Refused(400, f"Invalid '{param}.role': one of {', '.join(ROLES)}.", "invalid_value", f"{param}.role")
        return {"role": role, "content": _content(content, role, f"{param}.content"), **kept}
    if kind == "function_call":
        return {"role": "assistant", "content": None, "tool_calls": [_call(item, param)]}
    if kind == "function_call_output":
        content = _content(item.get("output"), "tool", f"{param}.output")
        return {"role": "tool", "tool_call_id": _text(item, "call_id", param), "content": content}
    if kind in LEFT_OUT:
        return None
    if kind == "item_reference":
        raise _refused(param, "items are not stored yet: send the item itself.")
    raise _refused(f"{param}.type", "only messages, function calls and their outputs are served.")


def _call(item: JsonObject, param: str) -> JsonObject:
    function = {"name": _text(item, "name", param), "arguments": _text(item, "arguments", param)}
    return {"id": _text(item, "call_id", param), "type": "function", "function": function}


def _text(item: JsonObject, name: str, param: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise Refused(400, f"Invalid '{param}.{name}': it is to be a text.", "invalid_value", f"{param}.{name}")
    return value


def _content(content: Any, role: Any, param: str) -> Any:
    """Texts as one text where a server may know no parts: of an assistant, of a tool, and where there is one alone."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refused(400, f"Invalid '{param}': it is to be a text or a list of parts.", "invalid_value", param)
    parts = [_part(part, f"{param}.{at}") for at, part in enumerate(content)]
    only_text = all(part["type"] == "text" for part in parts)
    if role == "tool" and not only_text:
        raise _refused(param, "only text is served as the output of a function.")
    return "".join(part["text"] for part in parts) if only_text and (role != "user" or len(parts) == 1) else parts


def _part(part: Any, param: str) -> JsonObject:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in TEXTS:
        return {"type": "text", "text": _text(part, "text", param)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _text(part, "refusal", param)}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        file = {name: part[name] for name in ("file_data", "filename") if name in part}
        return {"type": "file", "file": file}
    raise _refused(param, "only texts, image URLs, audio and files with their data are served.")
