"""The usage object of an upstream, its counts made counts."""

from typing import Any, NamedTuple

from llm_stream.upstream.values import JsonObject, count


class ReportedUsage(NamedTuple):
    """What an upstream reports. A count that is none is None; `content` is the object as it came."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    content: JsonObject

    def told(self, prompt_tokens: int, completion_tokens: int) -> JsonObject:
        """The object for the client, whose counts are those settled on; the upstream's own total stands."""
        total = self.total_tokens
        counts = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens if total is None else total,
        }
        return {**self.content, **counts}


def read_usage(value: Any) -> ReportedUsage | None:
    """The usage, or None where nothing usable is reported."""
    if not isinstance(value, dict):
        return None
    prompt, completion = count(value.get("prompt_tokens")), count(value.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    return ReportedUsage(prompt, completion, count(value.get("total_tokens")), value)
