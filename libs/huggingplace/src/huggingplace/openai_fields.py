"""What is logged of a call to OpenAI's API: from its arguments, its answer, and the pieces of a streamed one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingplace.json_text import plain

# An image or a recording as text; what it shows is at the caller's.
MOST_DATA_CHARS = 1_000
_PARAMETERS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "seed", "stop",
    "frequency_penalty", "presence_penalty", "reasoning_effort", "tool_choice", "parallel_tool_calls", "store",
    "dimensions", "encoding_format", "service_tier", "user",
)  # fmt: skip

Fields = dict[str, Any]


def request_fields(api: str, kwargs: Mapping[str, Any]) -> Fields:
    """What the arguments of a call say: prompt, model, and the whole of the messages as metadata."""
    asked = kwargs.get("messages") if api == "chat.completions" else kwargs.get("input", kwargs.get("prompt"))
    metadata: Fields = {"api": api, "stream": bool(kwargs.get("stream"))}
    parameters = {name: plain(kwargs[name]) for name in _PARAMETERS if _is_given(kwargs.get(name))}
    if parameters:
        metadata["parameters"] = parameters
    tools = [_tool_name(tool) for tool in kwargs.get("tools") or () if _is_given(tool)]
    if tools:
        metadata["tools"] = tools
    if not isinstance(asked, str) and _is_given(asked):
        metadata["messages"] = without_data(plain(_listed(asked)))
    if isinstance(kwargs.get("instructions"), str):
        metadata["instructions"] = kwargs["instructions"]
    fields: Fields = {"user_prompt": prompt_of(asked), "metadata": metadata}
    if isinstance(kwargs.get("model"), str):
        fields["llm_model"] = kwargs["model"][:256]
    return fields


def prompt_of(asked: Any) -> Any:
    """What the user said last; without a message of the user, all that was said."""
    if isinstance(asked, str) or not _is_given(asked):
        return asked if isinstance(asked, str) else ""
    listed = _listed(asked)
    for message in reversed(listed):
        if _get(message, "role") == "user":
            return _text_of(_get(message, "content"))
    return without_data(plain(listed))


def answer_fields(api: str, answer: Any) -> Fields:
    """What an answer in one piece says."""
    if api == "embeddings":
        vectors = _get(answer, "data") or ()
        return {"response": {"vectors": len(vectors)}, **_answered(answer)}
    if api == "responses":
        return response_fields(answer)
    choices = list(_get(answer, "choices") or ())
    said = [_choice(choice) for choice in choices]
    ended = ending_fields([_get(choice, "finish_reason") for choice in choices])
    return {"response": said[0] if len(said) == 1 else said, **ended, **_answered(answer)}


def response_fields(answer: Any) -> Fields:
    """What an object of the Responses API says, whole or failed."""
    text = _get(answer, "output_text")
    if not isinstance(text, str):
        # Without the convenience of the client's own objects.
        text = "".join(_output_texts(answer))
    calls = [
        {"name": _get(item, "name"), "arguments": _get(item, "arguments")}
        for item in _get(answer, "output") or ()
        if _get(item, "type") == "function_call"
    ]
    fields: Fields = {"response": {"content": text, "tool_calls": calls} if calls else text, **_answered(answer)}
    fields["metadata"] = {"status": _get(answer, "status")}
    error = _get(answer, "error")
    if error is not None:
        fields["error"] = {"type": str(_get(error, "code")), "message": str(_get(error, "message"))[:2000]}
    elif _get(answer, "status") == "incomplete":
        fields["status"] = "interrupted"
    return fields


def ending_fields(reasons: list[Any]) -> Fields:
    """Why a model ended; that of each choice, where there are several."""
    told = [str(reason)[:64] for reason in reasons if reason is not None]
    if not told:
        return {}
    return {"finish_reason": told[0], **({"metadata": {"finish_reasons": told}} if len(told) > 1 else {})}


def usage_fields(usage: Any) -> Fields:
    """Token counts, whichever of the two ways they are named in."""
    found: Fields = {}
    details = _get(usage, "prompt_tokens_details") or _get(usage, "input_tokens_details")
    for name, given in (
        ("prompt_tokens", _first(_get(usage, "prompt_tokens"), _get(usage, "input_tokens"))),
        ("completion_tokens", _first(_get(usage, "completion_tokens"), _get(usage, "output_tokens"))),
        ("total_tokens", _get(usage, "total_tokens")),
        ("cached_tokens", _get(details, "cached_tokens")),
    ):
        if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
            found[name] = given
    return found


def without_data(value: Any) -> Any:
    """The same with long `data:` addresses and base64 named by their length."""
    if isinstance(value, dict):
        return {name: _short_data(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_data(inner) for inner in value]
    return value


def merged(first: Fields, second: Fields) -> Fields:
    """Both, with their metadata as one."""
    metadata = {**first.get("metadata", {}), **second.get("metadata", {})}
    return {**first, **second, "metadata": metadata}


def _short_data(name: str, value: Any) -> Any:
    is_data = isinstance(value, str) and (value.startswith("data:") or name in ("data", "file_data"))
    if is_data and len(value) > MOST_DATA_CHARS:
        return f"<{len(value)} characters of data>"
    return without_data(value)


def _answered(answer: Any) -> Fields:
    fields = usage_fields(_get(answer, "usage"))
    model = _get(answer, "model")
    if isinstance(model, str) and model:
        fields["llm_model"] = model[:256]
    return fields


def _choice(choice: Any) -> Any:
    """What one choice says: its text alone, where it is nothing but text."""
    message = _get(choice, "message")
    if message is None:
        return _get(choice, "text")
    calls = _get(message, "tool_calls")
    refusal = _get(message, "refusal")
    content = _get(message, "content")
    if not calls and not refusal:
        return content if content is not None else ""
    said: Fields = {"content": content}
    if calls:
        said["tool_calls"] = [_call(call) for call in calls]
    if refusal:
        said["refusal"] = refusal
    return said


def _call(call: Any) -> Fields:
    function = _get(call, "function")
    return {
        "id": _get(call, "id"),
        "name": _get(function, "name"),
        "arguments": _get(function, "arguments"),
    }


def _output_texts(answer: Any) -> list[str]:
    parts = [part for item in _get(answer, "output") or () for part in _get(item, "content") or ()]
    return [str(_get(part, "text")) for part in parts if _get(part, "type") == "output_text"]


def _text_of(content: Any) -> Any:
    if isinstance(content, str) or not _is_given(content):
        return content if isinstance(content, str) else ""
    texts = []
    for part in _listed(content):
        text = _get(part, "text")
        texts.append(text if isinstance(text, str) else f"[{_get(part, 'type')}]")
    return "\n".join(texts)


def _tool_name(tool: Any) -> Any:
    function = _get(tool, "function")
    return _first(_get(function, "name"), _get(tool, "name"), _get(tool, "type"))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _get(value: Any, name: str) -> Any:
    """A field of an object of the client, or of a mapping; None where there is none."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _is_given(value: Any) -> bool:
    """Whether an argument was given: the client has objects of its own for those that were not."""
    return value is not None and type(value).__name__ not in ("NotGiven", "Omit")
