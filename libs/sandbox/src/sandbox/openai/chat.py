"""POST /v1/chat/completions, answered whole or as a stream."""

import asyncio
import time

import orjson
from aiohttp import web

from sandbox.openai.calls import FLUSH_SECONDS, Call, Ended
from sandbox.openai.paced_stream import EventStream
from sandbox.openai.plan import Choice, Plan, plan
from sandbox.openai.validation import check_chat
from sandbox.openai.wire import FINGERPRINT, ChunkWriter, completion_id
from sandbox.sockets import abort


async def answer(call: Call) -> web.StreamResponse:
    """Answer one chat call."""
    check_chat(call.body)
    planned = plan(call)
    call.exchange.status = 200
    if call.body.get("stream"):
        return await _streamed(call, planned)
    return await _whole(call, planned)


async def _streamed(call: Call, planned: Plan) -> web.StreamResponse:
    options = call.body.get("stream_options") or {}
    chunks = ChunkWriter(call.model, with_usage=bool(options.get("include_usage")))
    stream = EventStream(call)
    await stream.open()
    for index, choice in enumerate(planned.choices):
        if not choice.calls:
            await stream.send(chunks.role(index))
    await stream.deliver(_frames(chunks, planned))
    for index, choice in enumerate(planned.choices):
        await stream.send(chunks.finish(index, choice.finish))
    if chunks.with_usage:
        await stream.send(chunks.usage(planned.usage()))
    return await stream.close()


def _frames(chunks: ChunkWriter, planned: Plan) -> list[bytes]:
    """Return the frame of every chunk; the first delta of a choice that calls tools also opens its role."""
    opened = {index for index, choice in enumerate(planned.choices) if not choice.calls}
    frames = []
    for index, delta in planned.deltas():
        opening = {} if index in opened else {"role": "assistant", "content": None}
        opened.add(index)
        frames.append(chunks.delta(index, {**opening, **delta} if opening else delta))
    return frames


async def _whole(call: Call, planned: Plan) -> web.StreamResponse:
    body = _completion(call, planned)
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
    message: dict[str, object] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.calls:
        message |= {"content": None, "tool_calls": [call.as_dict() for call in choice.calls]}
    message["annotations"] = []
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish}
