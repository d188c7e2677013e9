"""200 scripted calls: split anywhere, with wrong arguments, slow and failing tools, two at once, interruptions."""

import asyncio
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_stream.tools.pairs import closed
from llm_stream.tools.toolbox import Toolbox
from tests.support.tool_turns import Talk, ToolTurn, calling, echo, fail, hang, saying, tool, toolbox

CALLS = 200
# What of a call makes its result: the tool's answer, or the clear result that the case asks for.
EXPECTED = {"echo": "done", "late": "done", "fails": "failed", "hangs": "timed_out"}


async def late(arguments: dict[str, Any]) -> str:
    """Slower than others, and in time."""
    await asyncio.sleep(0.005)
    return await echo(arguments)


def box(begun: asyncio.Event | None = None) -> Toolbox:
    """The tools of the script; those that an interruption meets say that they have begun."""
    begun = begun or asyncio.Event()

    async def waits(arguments: dict[str, Any]) -> str:
        begun.set()
        return await hang(arguments)

    async def goes_on(arguments: dict[str, Any]) -> str:
        begun.set()
        return await late(arguments)

    return toolbox(
        tool("echo", echo),
        tool("late", late),
        tool("fails", fail),
        tool("hangs", hang, seconds=0.02),
        tool("waits", waits),
        tool("goes_on", goes_on, finishes=True),
    )


class Case:
    """One turn of the script: its answers cut at random places, and how each of its calls has to end."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.names = [self.dice.choice(sorted(EXPECTED)) for _ in range(self.dice.choice((1, 2)))]
        self.interrupted = self.dice.random() < 0.15
        if self.interrupted:
            self.names = [self.dice.choice(("waits", "goes_on")) for _ in self.names]
        self.wrong = not self.interrupted and self.dice.random() < 0.3
        self.expected = [EXPECTED.get(name, "cancelled") for name in self.names]

    def answers(self) -> list[bytes]:
        good = [(name, orjson.dumps({"word": self._word()}).decode()) for name in self.names]
        size = self.dice.randint(1, 7)
        rounds = [calling(*good, said=self.dice.choice(("", "Let me see. ")), size=size), saying("That is it.")]
        if self.wrong:
            bad = self.dice.choice(('{"word": 1}', '{"wor', "{}", "[]"))
            rounds.insert(0, calling(*((name, bad) for name in self.names), size=size))
        return rounds

    def _word(self) -> str:
        return self.dice.choice(("a", "ünïcödé 🙂", 'quo"ted\\', "line\nbreak"))

    async def run(self) -> ToolTurn:
        answers = self.answers()
        edges = [self.dice.randrange(max(map(len, answers))) for _ in range(40)]
        begun = asyncio.Event()
        turn = ToolTurn(Talk(*answers, edges=edges), box(begun))
        if not self.interrupted:
            return await turn.run()
        answering = asyncio.create_task(turn.run())
        await begun.wait()
        turn.world.stop()
        await answering
        return turn


def assert_closed(messages: Sequence[dict[str, Any]]) -> None:
    """Each call has one result right behind its message, in any order, and nothing else does."""
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls
            open_calls.remove(message["tool_call_id"])
            continue
        assert not open_calls
        open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    assert not open_calls


async def test_of_200_calls_nearly_all_succeed_and_every_pair_is_closed() -> None:
    made, right, seed, seen = 0, 0, 0, set[str]()
    while made < CALLS:
        case = Case(seed)
        turn = await case.run()
        steps = turn.fact["tools"]
        told = steps[len(case.names) :] if case.wrong else steps
        expected = case.expected if not case.interrupted else [None] * len(case.names)
        made += len(case.names)
        for step, outcome in zip(told, expected, strict=True):
            ended = step["outcome"] in ("cancelled", "left_running") if outcome is None else step["outcome"] == outcome
            right += ended and bool(step["result"])
            seen.add(step["outcome"])
        for request in turn.model.requests:
            assert_closed(request["messages"])
        if not case.interrupted:
            assert turn.text.endswith("That is it.")
        seed += 1
    assert seen == {"done", "failed", "timed_out", "cancelled", "left_running"}
    assert right >= 0.95 * made


ids = st.sampled_from(["a", "b", "c", "d"])
call_lists = st.lists(
    st.fixed_dictionaries({"id": ids, "type": st.just("function")}), max_size=3, unique_by=lambda c: c["id"]
)
history = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": st.just("x")}),
        st.fixed_dictionaries({"role": st.just("assistant"), "content": st.just(None), "tool_calls": call_lists}),
        st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": ids, "content": st.just("r")}),
    ),
    max_size=30,
)


@given(history)
def test_no_history_has_an_orphan(messages: list[dict[str, Any]]) -> None:
    mended = closed(messages)
    assert_closed(mended)
    # Nothing else changes, and what is closed stays as it is.
    assert [m for m in mended if m["role"] != "tool"] == [m for m in messages if m["role"] != "tool"]
    assert closed(mended) == mended
    answers = {(at, m["tool_call_id"]) for at, m in _behind(messages)}
    assert {(at, m["tool_call_id"]) for at, m in _behind(mended) if m["content"] == "r"} <= answers


def _behind(messages: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The results, each with how many messages of other kinds stand before it."""
    found, count = [], 0
    for message in messages:
        if message["role"] == "tool":
            found.append((count, message))
        else:
            count += 1
    return found


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["echo", "fails", "hangs"]), st.booleans()), min_size=1, max_size=4), st.data()
)
async def test_no_round_leaves_an_orphan(calls: list[tuple[str, bool]], data: st.DataObject) -> None:
    scripted = calling(*((name, '{"word": "x"}' if right else "{") for name, right in calls), said="Well. ")
    edges = data.draw(st.lists(st.integers(0, len(scripted)), max_size=20))
    turn = await ToolTurn(Talk(scripted, scripted, saying("Done."), edges=edges), box()).run()
    assert len(turn.fact["tools"]) == 2 * len(calls)
    for request in turn.model.requests:
        assert_closed(request["messages"])
    assert all(before["content"] == "Hi" or after for before, after in pairwise(turn.model.requests[-1]["messages"]))
