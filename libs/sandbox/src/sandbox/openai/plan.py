"""The plan of a chat answer: the deltas of every choice, decided before a byte is sent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from sandbox.faults import split_model
from sandbox.openai import answer_rules, conversation, drafts, tools
from sandbox.openai.calls import Call, context_too_long
from sandbox.openai.planned_answer import Choice, Plan
from sandbox.openai.text import count_tokens, pieces, regroup

CONTEXT_TOKENS = 128_000
TOKENS_PER_MESSAGE = 4
# What a model says before it calls a tool, where it is asked to say something: two sentences, the second unfinished.
ALOUD = "Let me look that up. One moment"


def plan(call: Call) -> Plan:
    """Plan the answer to a validated request; raise ApiError when the prompt is too long."""
    body = call.body
    prompt_tokens = _prompt_tokens(body["messages"])
    if prompt_tokens > CONTEXT_TOKENS:
        raise context_too_long(CONTEXT_TOKENS, prompt_tokens)
    read = conversation.read(body["messages"])
    seed = body.get("seed") or 0
    choices = [_choice(call, read, seed + index) for index in range(body.get("n") or 1)]
    return Plan(choices, prompt_tokens)


def _prompt_tokens(messages: Sequence[dict[str, Any]]) -> int:
    texts = (conversation.content_text(message.get("content")) for message in messages)
    return sum(count_tokens(text) + TOKENS_PER_MESSAGE for text in texts)


def _choice(call: Call, read: conversation.Conversation, seed: int) -> Choice:
    speech = call.speech
    reasoning = [f"Thought {number} of {speech.reasoning}. " for number in range(1, speech.reasoning + 1)]
    calls = tools.choose(call.body, read, call.exchange.id + str(seed))
    if calls:
        return Choice(pieces(ALOUD) if speech.aloud else [], calls, "tool_calls", reasoning)
    whole = _in_format(call, answer_rules.answer(read, seed), read)
    text = answer_rules.remainder(whole, read.prefix)
    if call.pace.chunks is not None:
        text = _lengthened(text, call.pace.chunks, seed)
    told = bool(call.body.get("logprobs"))
    return replace(_limited(call, text), reasoning=reasoning, refused=speech.refusal, logprobs=told)


def _in_format(call: Call, text: str, read: conversation.Conversation) -> str:
    wanted = call.body.get("response_format")
    kind = (wanted or {}).get("type", "text")
    if wanted is None or kind == "text":
        return text
    if kind == "json_object":
        return drafts.draft(read, split_model(call.model)[0]) or orjson.dumps({"answer": text}).decode()
    return orjson.dumps(tools.fill(wanted["json_schema"]["schema"], read.last)).decode()


def _lengthened(text: str, count: int, seed: int) -> str:
    parts = pieces(text)
    for sentence in answer_rules.filler(seed):
        if len(parts) >= count:
            return "".join(parts)
        parts += pieces(sentence)
    return text


def _limited(call: Call, text: str) -> Choice:
    """Apply stop sequences, the token limit, the filter and the chunk count, in this order."""
    text, finish = _stopped(text, call.body.get("stop"))
    parts = pieces(text)
    limit = call.body.get("max_completion_tokens") or call.body.get("max_tokens")
    if limit is not None and len(parts) > limit:
        parts, finish = parts[:limit], "length"
    if call.failure.content_filter_finish:
        parts, finish = parts[: len(parts) // 2], "content_filter"
    if call.pace.chunks and len(parts) > call.pace.chunks:
        parts = regroup(parts, call.pace.chunks)
    return Choice(parts, [], finish)


def _stopped(text: str, stop: str | list[str] | None) -> tuple[str, str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    cuts = [position for each in stops if each and (position := text.find(each)) >= 0]
    return (text[: min(cuts)] if cuts else text), "stop"
