"""Tokens of an answer: as the upstream reports them, or an estimate."""

from collections.abc import Mapping
from typing import Any

from common.events.chat import Usage
from common.events.token_estimate import content_tokens, input_tokens
from llm_stream.upstream.reported_usage import ReportedUsage
from llm_stream.upstream.values import MAX_COUNT


def usage_of(reported: ReportedUsage | None, body: Mapping[str, Any], tokens: int) -> Usage:
    """What the upstream reported; where it reported nothing, or no count that can be one, the estimate."""
    if reported is None:
        return estimated(body, tokens)
    prompt, completion = reported.prompt_tokens, reported.completion_tokens
    partly = prompt is None or completion is None
    prompt = estimated(body, tokens).prompt_tokens if prompt is None else prompt
    completion = tokens if completion is None else completion
    total = min(prompt + completion, MAX_COUNT)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total, estimated=partly)


def estimated(body: Mapping[str, Any], tokens: int) -> Usage:
    """The usage of an answer of `tokens` to this request."""
    if "input" in body:
        prompt = input_tokens(body["input"])
    else:
        prompt = content_tokens(message.get("content") for message in body["messages"])
    return Usage(prompt_tokens=prompt, completion_tokens=tokens, total_tokens=prompt + tokens, estimated=True)
