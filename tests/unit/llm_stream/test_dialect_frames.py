"""An answer in a dialect is a turn like any other: numbered frames, one end, one fact."""

from typing import Any

import orjson

from common.bus.live.frames import FrameKind
from common.events.chat import AnswerDialect, UtteranceProsody
from llm_stream.ports import UpstreamBroken
from tests.support.one_turn import Body, Live, Model, World
from tests.support.scripted import chunk

SCORES = {"Joy": 0.6}
HUME = AnswerDialect(name="hume", told={"session_id": "chat-7", "scores": SCORES})
RESPONSES = AnswerDialect(name="responses")


def streamed(*chunks: dict[str, Any] | bytes) -> Body:
    payloads = [each if isinstance(each, bytes) else orjson.dumps(each) for each in chunks]
    return Body(b"".join(b"data: %b\n\n" % payload for payload in payloads))


class Broken(Body):
    """A stream that breaks behind what it says."""

    async def relay(self, take: Any) -> None:
        await super().relay(take)
        raise UpstreamBroken("it broke")


def events(world: World) -> list[dict[str, str]]:
    """The events of the answer as they are written, by the names of their lines."""
    payloads = [frame.payload.decode() for frame in world.live.frames if frame.kind == FrameKind.DATA]
    assert all(payload.endswith("\n\n") and payload.count("\n\n") == 1 for payload in payloads)
    return [dict(line.split(": ", 1) for line in payload.strip().splitlines()) for payload in payloads]


def told(world: World) -> list[dict[str, Any]]:
    return [orjson.loads(event["data"]) for event in events(world) if event["data"] != "[DONE]"]


async def test_every_chunk_of_hume_names_the_session_and_carries_the_scores() -> None:
    plain = [chunk("One."), chunk(" Two."), chunk(" Three."), chunk(finish="stop")]
    world = World(Live(None), Model(bodies={"s": streamed(*plain, b"[DONE]")}))
    spoken = (UtteranceProsody(scores=SCORES, begin_ms=1.0, end_ms=2.0),)
    await world.answer(dialect=HUME, prosody=spoken)
    chunks = told(world)
    assert [each["system_fingerprint"] for each in chunks] == ["chat-7"] * len(chunks)
    deltas = [each["choices"][0]["delta"] for each in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "One. Two. Three."
    assert [delta["models"] for delta in deltas] == [{"prosody": {"scores": SCORES}}] * len(chunks)
    assert events(world)[-1]["data"] == "[DONE]"
    [fact] = world.facts
    assert fact["prosody"] == [{"scores": SCORES, "begin_ms": 1.0, "end_ms": 2.0}]


async def test_a_plain_answer_and_its_fact_know_nothing_of_dialects() -> None:
    world = World(Live(None), Model())
    await world.answer()
    assert all("models" not in each["choices"][0]["delta"] and "system_fingerprint" not in each for each in told(world))
    assert "prosody" not in world.facts[0]


async def test_a_frame_of_a_response_is_one_event_and_their_numbers_go_together() -> None:
    world = World(Live(None), Model())
    await world.answer(dialect=RESPONSES, stream_options={"include_usage": True})
    written, said = events(world), told(world)
    assert [list(event) for event in written] == [["event", "id", "data"]] * len(written)
    assert [event["event"] for event in written] == [event["type"] for event in said]
    assert [int(event["id"]) for event in written] == [event["sequence_number"] + 2 for event in said]
    assert said[-1]["response"]["output"][0]["content"][0]["text"] == "Hi."
    assert said[-1]["response"]["usage"]["total_tokens"] > 0


async def test_a_response_that_breaks_says_so_in_band() -> None:
    world = World(Live(None), Model(bodies={"s": Broken(b"data: %b\n\n" % orjson.dumps(chunk("Hi.")))}))
    await world.answer(dialect=RESPONSES)
    failed, error = told(world)[-2:]
    assert (failed["type"], error["type"]) == ("response.failed", "error")
    assert error["error"]["message"] == error["message"]
    assert failed["response"]["output"][0]["status"] == "incomplete"
    assert [fact["type"] for fact in world.facts] == ["chat.reply.failed/1"]


async def test_a_stopped_response_says_nothing_more_and_its_receipt_counts_deltas() -> None:
    world = World(Live(None), Model(silent=True))
    await world.answer(world.stop, dialect=RESPONSES)
    kinds = [event["type"] for event in told(world)]
    assert kinds[-1] == "response.output_text.delta"
    [fact] = world.facts
    assert fact["receipt"]["delivered_tokens"] == kinds.count("response.output_text.delta") == 1
