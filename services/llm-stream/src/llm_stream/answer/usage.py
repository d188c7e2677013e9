"""Tokens of an answer: as the upstream reports them, or an estimate."""

import math
from collections.abc import Mapping
from typing import Any

from common.events.chat import CHARACTERS_PER_TOKEN, Usage


def usage_of(reported: Mapping[str, Any] | None, body: Mapping[str, Any], tokens: int) -> Usage:
    """What the upstream reported; where it reported nothing, the estimate."""
    if not reported:
        return estimated(body, tokens)
    prompt, completion = _count(reported.get("prompt_tokens")), _count(reported.get("completion_tokens"))
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def estimated(body: Mapping[str, Any], tokens: int) -> Usage:
    """The usage of `tokens` content deltas that answer this request."""
    prompt = sum(len(str(message.get("content") or "")) for message in body["messages"]) // CHARACTERS_PER_TOKEN
    return Usage(prompt_tokens=prompt, completion_tokens=tokens, total_tokens=prompt + tokens, estimated=True)


def completion_tokens(completion: Mapping[str, Any]) -> int:
    """An estimate of the tokens in the choices of an answer that is not streamed."""
    texts = [choice["message"].get("content") or "" for choice in completion["choices"]]
    return sum(len(text) for text in texts if isinstance(text, str)) // CHARACTERS_PER_TOKEN


def _count(reported: Any) -> int:
    """A number of tokens as an upstream reports it; what is no number is none."""
    return max(0, int(reported)) if isinstance(reported, (int, float)) and math.isfinite(reported) else 0
