"""The chunks of a stream: every shape that a lenient client of OpenAI's packages reads, in the one shape we send."""

from typing import Any, NamedTuple, NoReturn

import orjson

from llm_stream.ports import UpstreamBroken
from llm_stream.upstream.errors import error_in
from llm_stream.upstream.reported_usage import ReportedUsage, read_usage
from llm_stream.upstream.tool_calls import ToolCallPieces, read_function_call
from llm_stream.upstream.values import ALWAYS_WRITABLE_BYTES, MAX_COUNT, JsonObject, name, parse, position
from llm_stream.upstream.verdict import verdict

# A text has no index, no id and no end: what all of them say is not said by naming it.
SPOKEN = frozenset({"role", "content"})
# The members of a choice with a meaning of their own; all others travel with what the choice says.
CHOICE_MEMBERS = frozenset({"index", "delta", "message", "finish_reason", "logprobs"})
# Of a chunk, what is read by itself. An error that is none is not passed on either.
BESIDE_HEAD = ("choices", "usage", "model", "error")
READ_BY_ITSELF = frozenset({*BESIDE_HEAD, "created"})
# What nearly all choices end with, and None for those that go on.
PLAIN_ENDS = (None, "stop", "length", "tool_calls", "content_filter")
# How servers name an ending that OpenAI names otherwise, in lower case; clients act on OpenAI's names.
ENDINGS = {
    **dict.fromkeys(("eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed"), "stop"),
    **dict.fromkeys(("max_tokens", "max_length", "model_length"), "length"),
    **dict.fromkeys(("tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(("safety", "recitation", "blocklist", "prohibited_content", "spii"), "content_filter"),
}
# An answer that ends so is no whole one.
FAILED_ENDINGS = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "failed", "network_error", "insufficient_system_resource"}
)
# As many as OpenAI lets anybody ask for.
MAX_CHOICES = 128
# A larger chunk keeps beside its choices what is small: that is sent again with each choice, and each sentence.
LARGE_CHUNK_BYTES = 64 * 1024
# How an ending is named where a server names it by something that is no text.
UNNAMED_END = "stop"


class Choice(NamedTuple):
    """What one choice of a chunk says."""

    number: int
    content: str
    beside: JsonObject  # of the delta: tool calls, a refusal, reasoning; empty members are left out
    logprobs: JsonObject | None
    extras: JsonObject  # of the choice itself, such as the results of a filter
    finish_reason: str | None

    @property
    def says_something(self) -> bool:
        return bool(self.content or self.beside or self.logprobs)


class Chunk(NamedTuple):
    """A chunk that was read; `head` is what stands beside the choices. `whole` where it is the answer itself."""

    head: JsonObject
    model: str | None
    usage: ReportedUsage | None
    choices: list[Choice]
    whole: bool


def parse_chunk(payload: bytes) -> JsonObject:
    """The object in a payload. Raises UpstreamError."""
    try:
        value = orjson.loads(payload) if len(payload) < ALWAYS_WRITABLE_BYTES else parse(payload)
    except ValueError:
        value = _parse_again(payload)
    if type(value) is not dict:
        _no_chunk(value)
    return value if len(payload) < LARGE_CHUNK_BYTES or not value.get("choices") else _without_large(value)


def _without_large(chunk: JsonObject) -> JsonObject:
    return {key: value for key, value in chunk.items() if key in READ_BY_ITSELF or name(value) == value}


def _parse_again(payload: bytes) -> Any:
    try:
        return parse(payload)
    except ValueError as error:
        raise UpstreamBroken("the upstream sent a malformed chunk") from error


def _no_chunk(value: Any) -> NoReturn:
    # Gemini puts a list around its errors.
    if (reported := error_in(value)) is not None:
        raise verdict(reported)
    raise UpstreamBroken("the upstream sent a chunk that is no object")


def plain_choice(chunk: JsonObject) -> JsonObject | None:
    """The one choice of a chunk that is text and nothing else, in the shape we send; the way of nearly all of them."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or "error" in chunk or type(chunk.get("model")) is not str:
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") is not None:
        return None
    index = choice.get("index")
    if type(index) is not int or not 0 <= index <= MAX_COUNT:
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or len(delta) != 1 or not (content := delta.get("content")):
        return None
    return choice if type(content) is str and not choice.get("error") else None


def read_chunk(chunk: JsonObject, calls: ToolCallPieces) -> Chunk:
    """A chunk of any shape. Raises UpstreamError."""
    found = chunk.get("choices")
    # Beside choices nothing but this member is an error; to look for every other kind costs more than to read a chunk.
    if (found is None or chunk.get("error")) and (reported := error_in(chunk)) is not None:
        raise verdict(reported)
    if found is not None and not isinstance(found, list):
        raise UpstreamBroken("the upstream sent choices that are no list")
    found = found or []
    if len(found) > MAX_CHOICES:
        raise UpstreamBroken("the upstream sent more choices than anybody can ask for")
    choices = [_said_alone(each) or _choice(each, at, calls) for at, each in enumerate(found)]
    usage, head, model = _usage(chunk, found), chunk.copy(), name(chunk.get("model"))
    for member in BESIDE_HEAD:
        head.pop(member, None)
    if model is not None:
        head["model"] = model
    return Chunk(head, model, usage, choices, any(map(_is_message, found)))


def _said_alone(choice: Any) -> Choice | None:
    """A choice in OpenAI's own shape with nothing but a role, a text or an end: what begins and ends each stream."""
    if type(choice) is not dict or choice.get("error") or not choice.keys() <= CHOICE_MEMBERS:
        return None
    index, delta, reason = choice.get("index"), choice.get("delta"), choice.get("finish_reason")
    if type(index) is not int or not 0 <= index <= MAX_COUNT or type(delta) is not dict or choice.get("logprobs"):
        return None
    content = delta.get("content", "")
    if not delta.keys() <= SPOKEN or type(content) is not str or reason not in PLAIN_ENDS:
        return None
    return Choice(index, content, {}, None, {}, reason)


def _choice(choice: Any, at: int, calls: ToolCallPieces) -> Choice:
    """Raises UpstreamError on what is no choice, and on one that failed."""
    delta = choice.get("delta") if isinstance(choice, dict) else choice
    if delta is None and isinstance(choice, dict):
        # A server that does not stream sends its whole message.
        delta = choice.get("message") or {}
    if not isinstance(choice, dict) or not isinstance(delta, dict):
        raise UpstreamBroken("the upstream sent a malformed choice")
    finish_reason = read_finish_reason(choice.get("finish_reason"))
    check_choice(choice, finish_reason)
    index = position(choice.get("index"), at)
    beside = {key: value for key, value in delta.items() if value and key not in SPOKEN}
    content = delta.get("content")
    if content is None:
        content = ""
    elif type(content) is not str:
        content, reasoning, parts = read_content(content)
        if reasoning:
            beside.setdefault("reasoning_content", reasoning)
        if parts:
            beside["content_parts"] = parts
    if "tool_calls" in beside:
        beside["tool_calls"] = calls.read(index, beside["tool_calls"])
    if "function_call" in beside:
        beside["function_call"] = read_function_call(beside["function_call"])
    logprobs = choice.get("logprobs")
    extras = {key: value for key, value in choice.items() if value and key not in CHOICE_MEMBERS}
    return Choice(
        index, content, beside, logprobs if isinstance(logprobs, dict) and logprobs else None, extras, finish_reason
    )


def _is_message(choice: JsonObject) -> bool:
    """Whether a choice holds its whole message and no part of one."""
    return "message" in choice and choice.get("delta") is None and isinstance(choice["message"], dict)


def check_choice(choice: JsonObject, finish_reason: str | None) -> None:
    """Raises UpstreamError where a choice says that it failed, as OpenRouter's, vLLM's and SGLang's do."""
    failed = finish_reason in FAILED_ENDINGS
    error = choice.get("error") or (f"the upstream ended the answer with '{finish_reason}'" if failed else None)
    if error and (reported := error_in({"error": error})) is not None:
        raise verdict(reported)


def read_content(content: Any) -> tuple[str, str, list[Any]]:
    """The text, the reasoning and the other parts of a content, which is a text or a list of parts.

    Raises UpstreamBroken on anything else.
    """
    if content is None or isinstance(content, str):
        return content or "", "", []
    if not isinstance(content, list):
        raise UpstreamBroken("the upstream sent content that is no text")
    text, reasoning, others = "", "", []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            text += part
        elif kind in ("text", "output_text") and isinstance(part.get("text"), str):
            text += part["text"]
        elif kind in ("thinking", "reasoning") and (thought := part.get(kind) or part.get("text")):
            reasoning += thought if isinstance(thought, str) else read_content(thought)[0]
        else:
            others.append(part)
    return text, reasoning, others


def said_characters(said: JsonObject) -> int:
    """The length of what a delta or a message says in words: texts of every kind, and arguments of tool calls."""
    characters = sum(len(value) for key, value in said.items() if key != "role" and isinstance(value, str))
    calls = said.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        characters += len(arguments) if isinstance(arguments, str) else 0
    return characters


def read_finish_reason(value: Any) -> str | None:
    """How a choice ended, in OpenAI's words where there is one; None where it has not, which an empty text says too."""
    if isinstance(value, dict):
        named = value.get("type") or value.get("reason")
        told = (isinstance(named, str) and name(named)) or (UNNAMED_END if value else None)
    elif value is True:
        told = UNNAMED_END
    else:
        told = name(value) if value else None
    if told is None or told in PLAIN_ENDS:
        return told
    lower = told.lower()
    return ENDINGS.get(lower) or (lower if lower in PLAIN_ENDS or lower in FAILED_ENDINGS else told)


def _usage(chunk: JsonObject, choices: list[Any]) -> ReportedUsage | None:
    """Where servers put it: beside the choices, in Groq's own member, in a choice."""
    if (usage := read_usage(chunk.get("usage"))) is not None:
        return usage
    if "x_groq" not in chunk and not any("usage" in choice for choice in choices):
        return None
    groq = chunk.get("x_groq")
    places = [groq, *choices]
    found = (read_usage(place.get("usage")) for place in places if isinstance(place, dict))
    return next((usage for usage in found if usage is not None), None)
