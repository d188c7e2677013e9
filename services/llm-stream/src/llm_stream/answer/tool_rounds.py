"""The tools stage: calls of tools that Sonant runs are made, and the model is asked again with their results.

A round is what the model called for at once. Text before the calls was sent, and the calls themselves are not: the
client hears one answer. Where a tool of the caller is called too, the answer ends with the calls of those, as OpenAI
defines it, and ours are not run: their results would reach no history.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import orjson

from llm_stream.answer.failure import server_error
from llm_stream.answer.finish import HeardAnswer
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.rounds import Rounds
from llm_stream.answer.usage import usage_of
from llm_stream.tools.pairs import closed_round
from llm_stream.tools.tool import Call, Caller, Filler, Step
from llm_stream.tools.toolbox import Offered, Toolbox
from llm_stream.upstream.values import JsonObject

# In one round; a model that calls for more is told to call for less.
MAX_CALLS = 16
# What is kept of a round; calls beyond them are forgotten.
MAX_KEPT_CALLS = 2 * MAX_CALLS
TOO_MANY = f"Not called: at most {MAX_CALLS} calls are made at a time."
NOT_RUN = "Not called: the answer ended with the calls of the caller's own tools."
# Kept back from the deadline, so that the model can still say something.
RESERVE_SECONDS = 1.0


class Called(HeardAnswer, Protocol):
    """A heard answer that may call tools."""

    def calls(self) -> list[Call]:
        """What it calls for."""
        ...

    def drop_calls(self, indexes: Collection[int]) -> None:
        """Have it end without these calls."""
        ...

    def end_round(self) -> str:
        """Send what it says beside its calls, and nothing that ends it; returns all that it said."""
        ...


async def go_on(
    heard: Called, prepared: PreparedRequest, answer: AnswerInProgress, toolbox: Toolbox
) -> PreparedRequest | None:
    """The request of the next round, its calls made; None where the answer is over. Raises AnswerFailed."""
    calls, offered = heard.calls(), prepared.tools
    if offered is None:
        return None
    ours = [call for call in calls if call.name not in offered.callers]
    if not ours:
        return None
    rounds = answer.rounds
    steps = [Step(call, offered.own.get(call.name), rounds.count + 1) for call in ours[:MAX_KEPT_CALLS]]
    if len(ours) < len(calls):
        heard.drop_calls({call.number for call in ours})
        _end_all(steps, rounds)
        return None
    attempt = heard.attempt
    rounds.settle(attempt, usage_of(heard.usage, attempt.prepared.body, attempt.estimated_tokens))
    if rounds.count >= toolbox.max_rounds:
        raise server_error(
            502, f"The model called tools again after {rounds.count} rounds of calls.", "too_many_tool_rounds"
        )
    said = heard.end_round()
    rounds.count += 1
    rounds.steps += steps
    _show([{"tool_call": step.told()} for step in steps], prepared, answer)
    with _filled(steps, prepared, offered, answer):
        await _made(steps, answer, toolbox)
    _show([{"tool_response": step.response()} for step in steps], prepared, answer)
    answer.frames.begin_round()
    rounds.messages += closed_round(steps, said)
    return next_round(prepared, rounds, toolbox.max_rounds)


def next_round(prepared: PreparedRequest, rounds: Rounds, max_rounds: int) -> PreparedRequest:
    """What the model is asked after the rounds so far; `prepared` is the request without them or with some of them.

    A choice that made it call a tool would make it call one for ever. After the last round it is to call none.
    """
    asked = prepared.before_rounds or prepared.body["messages"]
    body = {**prepared.body, "messages": [*asked, *rounds.messages]}
    if body.get("tool_choice") not in (None, "auto"):
        body["tool_choice"] = "auto"
    if rounds.count >= max_rounds:
        body["tool_choice"] = "none"
    return prepared._replace(body=body, before_rounds=asked)


def _end_all(steps: Sequence[Step], rounds: Rounds) -> None:
    for step in steps:
        step.end("not_run", NOT_RUN)
    rounds.steps += steps


async def _made(steps: Sequence[Step], answer: AnswerInProgress, toolbox: Toolbox) -> None:
    request, wrong = answer.request, answer.rounds.wrong
    for step in steps[MAX_CALLS:]:
        step.end("too_many", TOO_MANY)
    caller = Caller(request.org_id, request.user_id, request.session_id, request.request_id)
    left = max(0.0, answer.deadline - time.time() - RESERVE_SECONDS)
    await toolbox.calls.make(steps[:MAX_CALLS], caller, left, frozenset(wrong))
    wrong |= {step.call.name for step in steps if step.outcome == "wrong_arguments"}


@contextmanager
def _filled(
    steps: Sequence[Step], prepared: PreparedRequest, offered: Offered, answer: AnswerInProgress
) -> Iterator[None]:
    """While the calls are made: say the filler once they have taken so long, where there is one."""
    fillers = (step.tool.filler for step in steps if step.tool is not None)
    filler = next((each for each in fillers if each is not None), offered.filler)
    if filler is None or not prepared.request.stream:
        yield
        return
    timer = asyncio.get_running_loop().call_later(filler.after, _say, filler, prepared, answer)
    try:
        yield
    finally:
        timer.cancel()


def _say(filler: Filler, prepared: PreparedRequest, answer: AnswerInProgress) -> None:
    """The filler as a chunk of the answer. It is no part of what the model has said, and no token of it."""
    said = answer.frames.released_text
    apart = " " if said and not said[-1].isspace() else ""
    _emit(_delta(content=f"{apart}{filler.text} "), prepared, answer)


def _delta(**said: str) -> JsonObject:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": None, "logprobs": None}]}


def _show(told: Sequence[JsonObject], prepared: PreparedRequest, answer: AnswerInProgress) -> None:
    """Chunks about the calls, for a client that wants them: they have no choices and a member `sonant`."""
    if prepared.body.get("sonant_tools") == "show" and prepared.request.stream:
        for each in told:
            _emit({"choices": [], "sonant": each}, prepared, answer)


def _emit(said: JsonObject, prepared: PreparedRequest, answer: AnswerInProgress) -> None:
    """A chunk of ours, which has no token of the model in it; behind the role, which every choice begins with."""
    request = prepared.request
    if not answer.frames.begun:
        asked = answer.rounds.settled
        answer.frames.start({} if asked is None else asked.provider_headers)
        _emit(_delta(role="assistant", content=""), prepared, answer)
    chunk = {
        "id": request.request_id,
        "object": "chat.completion.chunk",
        "created": int(request.received_at),
        "model": request.model,
        **said,
    }
    if prepared.wants_usage:
        chunk["usage"] = None
    answer.frames.emit(orjson.dumps(chunk))
