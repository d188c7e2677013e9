"""An answer that came whole, read into one that clients can read."""

from typing import Any, NamedTuple

from llm_stream.ports import UpstreamBroken
from llm_stream.upstream.chunks import MAX_CHOICES, check_choice, read_content, read_finish_reason, said_characters
from llm_stream.upstream.errors import error_in
from llm_stream.upstream.reported_usage import ReportedUsage, read_usage
from llm_stream.upstream.tool_calls import read_function_call, whole_calls
from llm_stream.upstream.values import JsonObject, name, parse, position
from llm_stream.upstream.verdict import verdict


class WholeAnswer(NamedTuple):
    """A completion whose every choice has ended; `content` is what the client is sent."""

    content: JsonObject
    model: str | None
    usage: ReportedUsage | None
    finish_reason: str
    characters: int  # of all that the choices say


def read_completion(body: bytes) -> WholeAnswer:
    """The completion in a body. Raises UpstreamError."""
    try:
        content = parse(body)
    except ValueError as error:
        raise UpstreamBroken("the upstream sent a body that is not JSON") from error
    if (reported := error_in(content)) is not None:
        raise verdict(reported)
    found = content.get("choices") if isinstance(content, dict) else None
    if not isinstance(found, list) or not found:
        raise UpstreamBroken("the upstream sent an answer without choices")
    if len(found) > MAX_CHOICES:
        raise UpstreamBroken("the upstream sent more choices than anybody can ask for")
    choices = [_choice(each, at) for at, each in enumerate(found)]
    completion = {**content, "object": "chat.completion", "choices": choices}
    completion.pop("error", None)  # one that is none
    model = name(content.get("model"))
    usage = read_usage(content.get("usage"))
    characters = sum(said_characters(choice["message"]) for choice in choices)
    return WholeAnswer(completion, model, usage, choices[0]["finish_reason"], characters)


def _choice(choice: Any, at: int) -> JsonObject:
    if not isinstance(choice, dict):
        raise UpstreamBroken("the upstream sent a malformed choice")
    finish_reason = read_finish_reason(choice.get("finish_reason"))
    check_choice(choice, finish_reason)
    message = choice.get("message")
    if not isinstance(message, dict) or finish_reason is None:
        raise UpstreamBroken("the upstream sent an unfinished answer")
    index = position(choice.get("index"), at)
    return {**choice, "index": index, "message": _message(message), "finish_reason": finish_reason}


def _message(message: JsonObject) -> JsonObject:
    text, reasoning, parts = read_content(message.get("content"))
    said = {"content": None, **message, "role": "assistant"}
    if isinstance(message.get("content"), list):
        said["content"] = text
    if reasoning:
        said.setdefault("reasoning_content", reasoning)
    if parts:
        said["content_parts"] = parts
    # An empty list is no call, and tells a client that looks for one otherwise.
    if calls := whole_calls(said.pop("tool_calls", None) or []):
        said["tool_calls"] = calls
    if said.get("function_call"):
        said["function_call"] = read_function_call(said["function_call"])
    return said
