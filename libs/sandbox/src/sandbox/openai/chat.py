"""POST /v1/chat/completions, answered whole or as a stream."""

import asyncio
import time

import orjson
from aiohttp import web

from sandbox.openai.calls import FLUSH_SECONDS, Call, Ended
from sandbox.openai.dialects.dialect import Answer
from sandbox.openai.paced_stream import EventStream
from sandbox.openai.plan import plan
from sandbox.openai.planned_answer import Choice, Plan, logprobs_of
from sandbox.openai.transcript import transcript
from sandbox.openai.validation import check_chat
from sandbox.openai.wire import FINGERPRINT, completion_id
from sandbox.sockets import abort


async def answer(call: Call) -> web.StreamResponse:
    """Answer one chat call."""
    check_chat(call.body)
    if call.dialect is not None:
        call.dialect.check(call.body)
    planned = plan(call)
    call.exchange.status = 200
    if call.body.get("stream"):
        return await _streamed(call, planned)
    return await _whole(call, planned)


async def _streamed(call: Call, planned: Plan) -> web.StreamResponse:
    options = call.body.get("stream_options") or {}
    with_usage = bool(options.get("include_usage"))
    if call.dialect is None:
        said = transcript(planned, call.model, with_usage=with_usage)
    else:
        said = call.dialect.transcript(_answer(call, planned, with_usage=with_usage))
    stream = EventStream(call, said)
    await stream.open()
    for event in said.opening:
        await stream.send(event)
    await stream.deliver(said.counted)
    for event in said.closing:
        await stream.send(event)
    return await stream.close()


def _answer(call: Call, planned: Plan, *, with_usage: bool = True) -> Answer:
    return Answer(planned, call.model, completion_id(), int(time.time()), with_usage=with_usage)


async def _whole(call: Call, planned: Plan) -> web.StreamResponse:
    body = _completion(call, planned) if call.dialect is None else call.dialect.body(_answer(call, planned))
    pace = call.pace
    await asyncio.sleep((pace.first + pace.delay * max(len(planned.deltas()) - 1, 0)) / 1000)
    failure = call.failure
    if failure.silence_after_headers or failure.trips(0):
        await _broken(call, body)
    call.exchange.chunks_sent = len(planned.deltas())
    call.exchange.finish("completed")
    return web.Response(body=body, content_type="application/json", headers=call.headers())


async def _broken(call: Call, body: bytes) -> None:
    """Send a body the way the failures after n chunks would leave it: half, unreadable or unfinished."""
    failure = call.failure
    due = failure.trips(0).get(0, [])
    response = web.StreamResponse(headers=call.headers())
    response.content_type = "application/json"
    response.content_length = len(body) // 2 if due and due[0] == "malformed" else len(body)
    await response.prepare(call.request)
    if not failure.silence_after_headers:
        await response.write(body[: len(body) // 2])
    if failure.silence_after_headers or "stall" in due:
        await asyncio.Event().wait()
    call.exchange.finish("fault")
    if "reset" in due:
        await asyncio.sleep(FLUSH_SECONDS)
        abort(call.request)
    if response.content_length == len(body) and call.request.transport is not None:
        call.request.transport.close()
    raise Ended(response)


def _completion(call: Call, planned: Plan) -> bytes:
    return orjson.dumps(
        {
            "id": completion_id(),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": call.model,
            "choices": [_choice(index, choice) for index, choice in enumerate(planned.choices)],
            "usage": planned.usage(),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )


def _choice(index: int, choice: Choice) -> dict[str, object]:
    text = choice.text if choice.pieces or not choice.calls else None
    said = {"content": None, "refusal": text} if choice.refused else {"content": text, "refusal": None}
    message: dict[str, object] = {"role": "assistant", **said}
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [call.as_dict() for call in choice.calls]
    message["annotations"] = []
    return {"index": index, "message": message, "logprobs": _logprobs(choice), "finish_reason": choice.finish}


def _logprobs(choice: Choice) -> dict[str, object] | None:
    if not choice.logprobs:
        return None
    entries = logprobs_of(choice.pieces)
    return {"content": None if choice.refused else entries, "refusal": entries if choice.refused else None}
