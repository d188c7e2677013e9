"""What is told of a turn that has ended, beside its fact: in metrics, the access log, and spans of attempts and tools.

Names of attributes are those of OpenTelemetry's conventions for generative AI, semantic conventions 1.44.0. Neither
the line nor a span holds what was said.
"""

from typing import Any
from urllib.parse import urlsplit

from common.events import chat
from common.events.embeddings import EmbeddingsRequested
from common.events.envelope import Event
from common.kernel import access_log, tracing
from common.metrics import labelled
from llm_stream.aliases import Upstream
from llm_stream.metrics import TURNS
from llm_stream.turns.turn import Turn

# Nothing went wrong with such a call.
FINE = frozenset({"done", "left_running", "cancelled", "not_run"})


def count(model: str, fact: Event[Any]) -> None:
    """Count the turn by its model and how it ended.

    What is wrong with a request, or a budget that is spent, wakes nobody: such turns are refused and not failed. A
    provider that has too much to do is no fault of the caller's.
    """
    ended, outcome = fact.payload, fact.spec.type.rpartition(".")[2]
    error = getattr(ended, "error", None)
    if error is not None and error.status < 500 and error.type != "rate_limit_error":
        outcome = "refused"
        # A model that no upstream stands behind is a text of the caller's: there is no end of those.
        model = model if ended.attempts else "none"
    labelled(TURNS, model, outcome).inc()


def tell(turn: Turn, fact: Event[Any]) -> None:
    """Add the turn to the line of its request, and record its spans where somebody wants them."""
    ended = fact.payload
    how = fact.spec.type.rpartition(".")[2]
    access_log.note(
        completion_id=turn.request.request_id,
        turn=how,
        **_told(turn, ended),
        attempts=[f"{attempt.upstream}: {attempt.outcome}" for attempt in ended.attempts],
        prompt_tokens=ended.usage.prompt_tokens,
        completion_tokens=ended.usage.completion_tokens,
    )
    span = tracing.current()
    if span.recorded:
        span.set(_turn_attributes(turn, ended, how))
        _record_attempts(turn, ended)
        _record_tools(getattr(ended, "tools", None) or ())


def _told(turn: Turn, ended: Any) -> dict[str, Any]:
    """What only some turns have. A model that no upstream stands behind is a text of the caller's, and not told."""
    error, first, tools = getattr(ended, "error", None), turn.frames.first_token_at, getattr(ended, "tools", None)
    told = {
        "model": turn.request.model if ended.attempts else None,
        "key_id": ended.key_id,
        "status": None if error is None else error.status,
        "code": None if error is None else error.code,
        "first_token_seconds": None if first is None else round(first - turn.request.received_at, 6),
        "tools": [f"{_name(step)}: {step.outcome}" for step in tools] if tools else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _turn_attributes(turn: Turn, ended: Any, how: str) -> tracing.Attributes:
    """Tokens are those of all calls of models in the turn."""
    request = turn.request
    return {
        "gen_ai.operation.name": _operation(turn),
        "gen_ai.conversation.id": request.session_id,
        "gen_ai.request.model": request.model,
        "gen_ai.request.stream": request.stream,
        "gen_ai.response.id": request.request_id,
        "gen_ai.usage.input_tokens": ended.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": ended.usage.completion_tokens,
        "sonant.turn.outcome": how,
        "sonant.org_id": request.org_id,
        "sonant.key_id": request.key_id,
    }


def _operation(turn: Turn) -> str:
    return "embeddings" if isinstance(turn.request, EmbeddingsRequested) else "chat"


def _record_attempts(turn: Turn, ended: Any) -> None:
    operation = _operation(turn)
    # The fact about a turn that was abandoned knows of none.
    for made, attempt in zip(turn.attempts.made, ended.attempts, strict=False):
        tracing.record(
            f"{operation} {attempt.model}",
            tracing.SpanKind.CLIENT,
            attempt.started_at,
            attempt.started_at + attempt.duration_ms / 1000,
            {"gen_ai.operation.name": operation, **_attempt_attributes(made.upstream, attempt)},
            _failure(attempt),
        )


def _attempt_attributes(upstream: Upstream, attempt: chat.Attempt) -> tracing.Attributes:
    address = urlsplit(upstream.base_url)
    return {
        "gen_ai.provider.name": upstream.provider,
        "gen_ai.request.model": attempt.model,
        "gen_ai.response.time_to_first_chunk": None if attempt.first_byte_ms is None else attempt.first_byte_ms / 1000,
        "server.address": address.hostname,
        "server.port": address.port,
        "sonant.upstream.name": attempt.upstream,
        "sonant.attempt.outcome": attempt.outcome,
    }


def _failure(attempt: chat.Attempt) -> str | None:
    if attempt.outcome in ("completed", "stopped"):
        return None
    return attempt.outcome if attempt.status is None else str(attempt.status)


def _record_tools(steps: tuple[chat.ToolStep, ...]) -> None:
    for step in steps:
        tracing.record(
            f"execute_tool {_name(step)}",
            tracing.SpanKind.INTERNAL,
            step.started_at,
            step.started_at + step.duration_ms / 1000,
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": _name(step),
                "gen_ai.tool.call.id": step.id,
                "gen_ai.tool.type": "function",
                "sonant.tool.kind": step.kind,
                "sonant.tool.outcome": step.outcome,
            },
            None if step.outcome in FINE else step.outcome,
        )


def _name(step: chat.ToolStep) -> str:
    """Where there is no such tool, the name is a text of the model's."""
    return "unknown" if step.kind is None else step.name
