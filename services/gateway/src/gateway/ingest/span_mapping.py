"""Which attributes of a span mean what: the semantic conventions for generative AI, and the names of OpenInference.

Names change with the versions of the conventions. What a caller of an older version sends is read by the older names,
which stand behind the new ones. `MAPPING_VERSION` says what was mapped by which version of this table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from common.events.interaction_ids import derived_id
from gateway.ingest.otlp_spans import Span, is_hex

# OpenTelemetry semantic conventions 1.44.0 (gen_ai, in development) and openinference-semantic-conventions 0.1.42.
MAPPING_VERSION = "1.44.0/0.1.42/1"

# Each field, and the attributes that hold it, the first that is there wins.
FIELDS: Mapping[str, Sequence[str]] = {
    "llm_model": (
        "gen_ai.response.model", "gen_ai.request.model", "llm.response.model_name", "llm.model_name",
        "llm.request.model_name", "embedding.model_name",
    ),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"),
    "session_id": ("gen_ai.conversation.id", "session.id"),
    "user_id": ("user.id", "enduser.id"),
    "prompt_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "completion_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
    "total_tokens": ("llm.token_count.total",),
    "cached_tokens": ("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"),
    "cost_usd": ("llm.cost.total",),
    "prompt_version": ("prompt.id", "gen_ai.prompt.name", "llm.prompt_template.version"),
}  # fmt: skip
RESOURCE: Mapping[str, Sequence[str]] = {
    "environment": ("deployment.environment.name", "deployment.environment"),
    "release": ("service.version",),
    "project_id": ("openinference.project.name", "service.name"),
}
# What a step was given and what it gave.
INPUTS = (
    "gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text", "gen_ai.input.messages", "input.value",
    "tool.parameters", "gen_ai.prompt",
)  # fmt: skip
OUTPUTS = (
    "gen_ai.tool.call.result", "gen_ai.retrieval.documents", "gen_ai.output.messages", "output.value",
    "gen_ai.completion",
)  # fmt: skip
# By operation (gen_ai) or kind (OpenInference): a call of a model is an interaction, anything else a step of this type.
INTERACTION = "llm"
KINDS: Mapping[str, str] = {
    "chat": INTERACTION,
    "text_completion": INTERACTION,
    "generate_content": INTERACTION,
    "embeddings": "embedding",
    "execute_tool": "tool",
    "retrieval": "retrieval",
    "create_agent": "agent",
    "invoke_agent": "agent",
    "invoke_workflow": "chain",
    "LLM": INTERACTION,
    "TOOL": "tool",
    "RETRIEVER": "retrieval",
    "EMBEDDING": "embedding",
    "CHAIN": "chain",
    "AGENT": "agent",
}
OTHER = "other"
SECONDS_MS = 1000.0
TRACE_BYTES, SPAN_BYTES = 16, 8
NAME, SHORT, LABEL = 256, 64, 200
LIMITS = {"environment": LABEL, "release": LABEL}


def kind_of(span: Span) -> str | None:
    """`llm` for a call of a model, the type of a step, or None for a span that is not about generative AI."""
    operation = span.attributes.get("gen_ai.operation.name") or span.attributes.get("openinference.span.kind")
    if operation is not None:
        return KINDS.get(str(operation), OTHER)
    if any(name in span.attributes for name in ("gen_ai.request.model", "gen_ai.system", "llm.model_name")):
        return INTERACTION
    return None


def item_of(span: Span, kind: str, org_id: str) -> dict[str, Any] | None:
    """The item that a span is; None for one without proper ids. The same span again is the same item."""
    if not is_hex(span.trace_id, TRACE_BYTES) or not is_hex(span.span_id, SPAN_BYTES):
        return None
    found = _found(span)
    item: dict[str, Any] = {
        "id": derived_id(span.started_at, org_id, span.trace_id, span.span_id),
        "timestamp": span.started_at,
        "mode": "dev" if span.resource.get("sonant.mode") == "dev" else "prod",
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "status": "ok" if span.error is None else "error",
        "error": None if span.error is None else _error(span),
    }
    if kind == INTERACTION:
        return {**item, **found, **_interaction(span)}
    about: dict[str, Any] = {name: found[name] for name in ("session_id", "user_id") if name in found}
    return {**item, **about, **_step(span, kind)}


def _found(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fields, attributes in ((FIELDS, span.attributes), (RESOURCE, span.resource)):
        for field, names in fields.items():
            value = next((attributes[name] for name in names if attributes.get(name) is not None), None)
            if value is not None:
                found[field] = value[: LIMITS.get(field, NAME)] if isinstance(value, str) else value
    return found


def _interaction(span: Span) -> dict[str, Any]:
    attributes = span.attributes
    prompts = _messages(attributes, "gen_ai.input.messages", "llm.input_messages", "gen_ai.prompt")
    answers = _messages(attributes, "gen_ai.output.messages", "llm.output_messages", "gen_ai.completion")
    asked = [message for message in prompts if message.get("role") == "user"] or prompts
    reasons = attributes.get("gen_ai.response.finish_reasons") or [attributes.get("llm.finish_reason")]
    first = attributes.get("gen_ai.response.time_to_first_chunk")
    return {
        "kind": "interaction",
        "user_prompt": _text(asked[-1]) if asked else attributes.get("input.value"),
        # Nothing was said, or nothing of it was captured: it is an interaction all the same.
        "ai_response": "\n".join(map(_text, answers)) if answers else attributes.get("output.value", ""),
        "response_time": max(0.0, span.ended_at - span.started_at) * SECONDS_MS,
        "first_token_ms": first * SECONDS_MS if isinstance(first, (int, float)) else None,
        "finish_reason": str(reasons[0])[:SHORT] if isinstance(reasons, list) and reasons[0] else None,
        "tags": _tags(attributes.get("tag.tags")),
        "metadata": {**_told(span), "messages": prompts} if len(prompts) > 1 else _told(span),
    }


def _step(span: Span, kind: str) -> dict[str, Any]:
    name = span.attributes.get("gen_ai.tool.name") or span.attributes.get("tool.name") or span.name
    return {
        "kind": "step",
        "name": (str(name) or kind)[:NAME],
        "type": kind,
        "started_at": span.started_at,
        "duration_ms": max(0.0, span.ended_at - span.started_at) * SECONDS_MS,
        "input": _first(span.attributes, INPUTS),
        "output": _first(span.attributes, OUTPUTS),
        "metadata": _told(span),
    }


def _told(span: Span) -> dict[str, Any]:
    """The span as it came, but for what has a field of its own."""
    own = {name for names in FIELDS.values() for name in names} | set(INPUTS) | set(OUTPUTS) | {"metadata", "tag.tags"}
    attributes = {
        name: value
        for name, value in span.attributes.items()
        if name not in own and not name.startswith(("llm.input_messages.", "llm.output_messages."))
    }
    metadata = _parsed(span.attributes.get("metadata"))
    return {
        **(metadata if isinstance(metadata, dict) else {}),
        "span": {"name": span.name, "scope": span.scope, "mapping": MAPPING_VERSION, "attributes": attributes},
    }


def _error(span: Span) -> dict[str, Any]:
    thrown = next((attributes for name, attributes in span.events if name == "exception"), {})
    kind = span.attributes.get("error.type") or thrown.get("exception.type")
    told = {"type": kind, "message": span.error or thrown.get("exception.message")}
    return {name: value for name, value in told.items() if value} or {"type": "error"}


def _first(attributes: Mapping[str, Any], names: Sequence[str]) -> Any:
    return _parsed(next((attributes[name] for name in names if attributes.get(name) is not None), None))


def _parsed(value: Any) -> Any:
    """A text that is JSON as what it says, everything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _tags(value: Any) -> list[str] | None:
    return [str(tag)[:LABEL] for tag in value[:50]] if isinstance(value, list) else None


def _messages(attributes: Mapping[str, Any], structured: str, flat: str, plain: str) -> list[dict[str, Any]]:
    """Messages in whichever of the three ways they were told: as one value, one attribute a part, or as a text."""
    told = _parsed(attributes.get(structured))
    if isinstance(told, list):
        return [message for message in told if isinstance(message, dict)]
    found: dict[int, dict[str, Any]] = {}
    prefix = f"{flat}."
    for name, value in attributes.items():
        if not name.startswith(prefix):
            continue
        number, _, part = name.removeprefix(prefix).partition(".")
        if number.isdecimal() and len(number) < 6:
            found.setdefault(int(number), {})[part.removeprefix("message.")] = value
    if found:
        return [found[number] for number in sorted(found)]
    text = attributes.get(plain)
    return [] if text is None else [{"role": "user", "content": text}]


def _text(message: Mapping[str, Any]) -> str:
    """What a message says: its content, or its parts of text; a message of anything else as JSON."""
    content = message.get("content", message.get("parts"))
    if isinstance(content, str):
        return content
    if content is None:
        content = [value for name, value in message.items() if name.startswith("contents.") and name.endswith(".text")]
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else _part(part) for part in content]
        if any(texts):
            return "\n".join(text for text in texts if text)
    return orjson.dumps({name: value for name, value in message.items() if name != "role"}).decode()


def _part(part: Any) -> str:
    if not isinstance(part, dict) or part.get("type", "text") != "text":
        return ""
    told = part.get("content", part.get("text"))
    return told if isinstance(told, str) else ""
