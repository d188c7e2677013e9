"""Turns that a session keeps, through the whole pipeline: cut at any place, told on, and taken up again."""

import asyncio
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.bus.live.frames import FrameKind
from common.events.chat import AnswerDialect, SessionUse
from common.events.session_turns import SessionTurn
from llm_stream.history.spoken_text import delivered_text, generated
from llm_stream.ports import Take, UpstreamRefused
from tests.support.one_turn import Body, Live, Model, World
from tests.support.scripted import chunk

STORE = SessionUse(store=True)
SAYING = "one two three four. five six seven eight. nine ten eleven twelve."
WORDS = re.findall(r"\S+\s*", SAYING)
SECONDS = 10.0


def payloads(text: str) -> list[bytes]:
    return [orjson.dumps(chunk(word)) for word in re.findall(r"\S+\s*", text)]


class Saying(Body):
    """An upstream that says so many words, and then the end of its answer or nothing more."""

    def __init__(self, text: str, words: int | None = None) -> None:
        super().__init__(b"")
        self.said = asyncio.Event()
        self._payloads = payloads(text)[:words]
        self._ends = words is None

    async def relay(self, take: Take) -> None:
        for payload in self._payloads:
            take(payload)
        self.said.set()
        if not self._ends:
            await asyncio.Event().wait()
        take(orjson.dumps(chunk(finish="stop")))
        take(b"[DONE]")


def heard_text(world: World, request_id: str, up_to: int | None = None) -> str:
    """The text in the frames of an answer up to a number."""
    frames = [frame for frame in world.live.frames if frame.request_id == request_id and frame.kind == FrameKind.DATA]
    data = [frame.payload.partition(b"data: ")[2] for frame in frames if up_to is None or frame.number <= up_to]
    chunks = [orjson.loads(line) for line in data if line.strip() != b"[DONE]"]
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks if each.get("choices"))


def kept(world: World) -> list[SessionTurn]:
    return list(world.copies.turns["o", "s"].values())


async def cut(world: World, words: int, left: int | None) -> SessionTurn:
    """A turn of which so many words were generated when it was stopped, and frames up to `left` had left."""
    body = Saying(SAYING, words)
    world.model.bodies = {"s": body}
    answering = asyncio.create_task(world.answer(session=STORE))
    async with asyncio.timeout(SECONDS):
        await body.said.wait()
        world.stop(delivered=left)
        await answering
    return kept(world)[-1]


async def told(world: World, request_id: str = "chatcmpl-2") -> list[dict[str, Any]]:
    """What an upstream is asked in the turn that comes next."""
    world.model.bodies = {"s": Saying("ok")}
    await world.answer(session=STORE, request_id=request_id, messages=[{"role": "user", "content": "next"}])
    asked: list[dict[str, Any]] = world.model.requests[-1]["messages"]
    return asked


@given(st.integers(0, len(WORDS)), st.data())
@settings(max_examples=60, deadline=None)
async def test_the_next_turn_knows_what_had_left_and_nothing_else(words: int, data: st.DataObject) -> None:
    world = World(Live(None, None, None), Model())
    left = data.draw(st.none() | st.integers(0, words + 2))
    turn = await cut(world, words, left)
    heard = heard_text(world, "chatcmpl-1", left)
    assert delivered_text(turn) == heard
    assert generated(turn.answer) == "".join(WORDS[:words])
    first, *answer, following = await told(world)
    assert first["content"] == "Hi"
    assert "".join(message["content"] for message in answer) == (heard if heard.strip() else "")
    assert following["content"].endswith("next")
    assert following["content"].startswith("(You were interrupted") == (words > 0)


@given(st.integers(0, len(WORDS)), st.data())
@settings(max_examples=60, deadline=None)
async def test_a_false_interruption_repeats_nothing_and_omits_nothing(words: int, data: st.DataObject) -> None:
    world = World(Live(None, None, None), Model())
    turn = await cut(world, words, data.draw(st.none() | st.integers(0, words + 2)))
    if data.draw(st.booleans()):
        # The platform knows that less was heard.
        characters = data.draw(st.integers(0, len(delivered_text(turn))))
        turn = await world.deps.sessions.note_spoken("o", turn, characters, "platform")
    spoken = delivered_text(turn)[: turn.spoken]
    # The model goes on, or begins anew with what it said before.
    anew = data.draw(st.booleans())
    world.model.bodies = {"s": Saying(SAYING if anew else "".join(WORDS[words:]))}
    resumed = SessionUse(store=True, continues="chatcmpl-1")
    await world.answer(session=resumed, request_id="chatcmpl-2")
    assert spoken + heard_text(world, "chatcmpl-2") == SAYING
    # In the history it is one message, and nobody was interrupted.
    assert [message["content"] for message in await told(world, request_id="chatcmpl-3")] == ["Hi", SAYING, "next"]


@given(st.data())
@settings(max_examples=30, deadline=None)
async def test_an_answer_that_was_whole_is_taken_up_without_a_model(data: st.DataObject) -> None:
    world = World(Live(None, None, None), Model(bodies={"s": Saying(SAYING)}))
    await world.answer(session=STORE)
    characters = data.draw(st.integers(0, len(SAYING)))
    await world.deps.sessions.note_spoken("o", kept(world)[0], characters, "platform")
    await world.answer(session=SessionUse(store=True, continues="chatcmpl-1"), request_id="chatcmpl-2")
    assert SAYING[:characters] + heard_text(world, "chatcmpl-2") == SAYING
    assert len(world.model.requests) == 1
    fact = world.facts[-1]
    assert (fact["type"], fact["finish_reason"]) == ("chat.reply.completed/1", "stop")
    assert fact["usage"]["total_tokens"] == 0
    assert world.live.frames[-2].payload.endswith(b"data: [DONE]\n\n")


async def test_a_response_is_resumed_as_a_response() -> None:
    world = World(Live(None, None, None), Model(bodies={"s": Saying(SAYING)}))
    dialect = AnswerDialect(name="responses")
    await world.answer(session=STORE, dialect=dialect)
    await world.deps.sessions.note_spoken("o", kept(world)[0], 8, "platform")
    resumed = SessionUse(store=True, continues="chatcmpl-1")
    await world.answer(session=resumed, request_id="chatcmpl-2", dialect=dialect)
    events = [frame.payload for frame in world.live.frames if frame.request_id == "chatcmpl-2"]
    assert events[1].startswith(b"event: response.created\n")
    last = orjson.loads(events[-2].partition(b"data: ")[2])
    assert last["type"] == "response.completed"
    assert last["response"]["output"][0]["content"][0]["text"] == SAYING[8:]


async def test_nothing_is_kept_that_nobody_asked_for() -> None:
    world = World(Live(None, None, None), Model())
    await world.answer()
    assert world.facts[-1]["kept"] == {"mode": "metadata", **_EMPTY}
    assert kept(world) == []
    await world.answer(session=SessionUse(store=False), request_id="chatcmpl-2")
    assert world.facts[-1]["kept"]["mode"] == "metadata"
    assert kept(world) == []
    # A session that nobody named.
    await world.answer(request_id="s")
    assert "kept" not in world.facts[-1]


_EMPTY = {
    "messages": [],
    "answer": [],
    "instructions": [],
    "left_out": False,
}


async def test_an_answer_of_several_choices_keeps_no_text() -> None:
    world = World(Live(None, None, None), Model())
    await world.answer(session=STORE, n=2)
    assert world.facts[-1]["kept"]["mode"] == "metadata"


@pytest.mark.parametrize("most", ["off", "metadata"])
async def test_no_more_is_kept_than_the_setting_allows(most: Any) -> None:
    world = World(Live(None, None, None), Model())
    world.deps.sessions.most = most
    await world.answer(session=STORE)
    assert world.facts[-1].get("kept", {}).get("mode") == (None if most == "off" else "metadata")
    assert kept(world) == []


async def test_of_what_is_too_large_the_images_go_first_and_then_all_of_it() -> None:
    world = World(Live(None, None, None), Model(bodies={"s": Saying("ok")}))
    world.deps.sessions.turn_bytes = 1000
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2000}}
    content = [{"type": "text", "text": "Look"}, image]
    await world.answer(session=STORE, messages=[{"role": "user", "content": content}])
    [turn] = kept(world)
    assert turn.messages[0]["content"][0]["text"] == "Look"
    assert len(turn.messages[0]["content"]) == 2
    assert not turn.left_out
    long = [{"role": "user", "content": "x" * 2000}]
    await world.answer(session=STORE, request_id="chatcmpl-2", messages=long)
    assert (kept(world)[1].left_out, kept(world)[1].messages) == (True, ())
    world.model.bodies = {"s": Saying("ok")}
    await world.answer(session=STORE, request_id="chatcmpl-3", messages=[{"role": "user", "content": "next"}])
    assert [each["role"] for each in world.model.requests[-1]["messages"]] == ["user", "assistant", "user"]


async def test_a_failed_turn_is_kept_and_told_to_nobody() -> None:
    world = World(Live(None, None, None), Model({"s": UpstreamRefused("no", status=400)}))
    await world.answer(session=STORE)
    [turn] = kept(world)
    assert (turn.outcome, turn.messages[0]["content"]) == ("failed", "Hi")
    world.model.refusals = {}
    assert await told(world) == [{"role": "user", "content": "next"}]
