"""Sessions, steps and traced functions: what belongs together is together, and nothing that was measured is lost."""

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from huggingplace import AsyncHuggingPlace, HuggingPlace, ValidationError, propagate, trace
from tests.unit.huggingplace.conftest import Items, Listing

Delivered = Callable[[], Items]


def names(nodes: Any) -> Any:
    """The steps as nested names."""
    return [(node["name"], names(node["steps"])) if "steps" in node else node["name"] for node in nodes]


def test_the_session_of_the_seed_document_step_by_step(client: HuggingPlace, delivered: Delivered) -> None:
    session = client.start_session("session-123")
    with session.step("retrieve", type="retrieval", input="question") as step:
        time.sleep(0.01)
        step.output = ["doc-1"]
    with session.step("generate") as step:
        with session.step("prompt"):
            pass
        step.set(output="answer", metadata={"model": "m"})
    logged = session.log(
        user_prompt="question",
        response="answer",
        user_id="ada",
        file_name="sales.csv",
        llm_model="gpt-4o",
        token_count=42,
        metadata={"sessionId": "session-123", "recommendationId": "r"},
        user_metadata={"email": "ada@example.com", "orgName": "Acme"},
    )
    session.log(user_prompt="next", response="one")
    first, second = delivered()
    assert first["id"] == logged
    assert first["session_id"] == second["session_id"] == "session-123"
    assert names(first["step_data"]) == ["retrieve", ("generate", ["prompt"])]
    retrieve, generate = first["step_data"]
    assert (retrieve["type"], retrieve["input"], retrieve["output"]) == ("retrieval", "question", ["doc-1"])
    assert 10 <= retrieve["duration_ms"] < 5000
    assert generate["metadata"] == {"model": "m"}
    assert generate["started_at"] >= retrieve["started_at"]
    assert "step_data" not in second
    assert "trace_id" not in second


def test_what_every_interaction_of_a_session_has(client: HuggingPlace, delivered: Delivered) -> None:
    session = client.start_session(user_id="ada", llm_model="a")
    session.log(user_prompt="x", llm_model="b")
    with session:
        client.log(user_prompt="y")
        client.log(user_prompt="z", session_id="another")
    x, y, z = delivered()
    assert (x["user_id"], x["llm_model"], y["llm_model"]) == ("ada", "b", "a")
    assert x["session_id"] == y["session_id"] == session.id
    assert z["session_id"] == "another"
    assert "user_id" not in z


@pytest.mark.parametrize(
    "misuse",
    [
        lambda client: client.start_session(""),
        lambda client: client.start_session("x" * 300),
        lambda client: client.start_session("x", user_id=5),
        lambda client: client.start_session("x", id="y"),
        lambda client: client.step(""),
        lambda client: client.step("x", colour="red"),
        lambda client: client.step("x", metadata="y"),
    ],
)
def test_misuse_is_raised(client: HuggingPlace, misuse: Callable[[HuggingPlace], Any]) -> None:
    with pytest.raises(ValidationError):
        misuse(client)


def test_a_step_that_fails_says_so_and_lets_the_exception_pass(client: HuggingPlace, delivered: Delivered) -> None:
    session = client.start_session()
    with pytest.raises(KeyError), session.step("outer"), session.step("inner"):
        raise KeyError("gone")
    session.log(user_prompt="x")
    [outer] = delivered()[0]["step_data"]
    [inner] = outer["steps"]
    assert outer["status"] == inner["status"] == "error"
    assert inner["error"] == {"type": "KeyError", "message": "'gone'"}


def test_logged_inside_a_step_what_ends_later_follows_and_names_the_interaction(
    client: HuggingPlace, delivered: Delivered
) -> None:
    session = client.start_session("s")
    with session.step("turn") as turn:
        with session.step("before"):
            pass
        logged = session.log(user_prompt="x")
        with session.step("after"):
            pass
    with session.step("of the next turn"):
        pass
    session.log(user_prompt="y")
    x, late, y = delivered()
    assert names(x["step_data"]) == ["before"]
    assert x["step_data"][0]["parent_id"] == x["parent_id"] == turn.id
    assert (late["kind"], late["interaction_id"], late["session_id"]) == ("step", logged, "s")
    assert names([late]) == [("turn", ["after"])]
    assert late["trace_id"] == x["trace_id"] != y["trace_id"]
    assert names(y["step_data"]) == ["of the next turn"]


def test_turns_of_a_session_at_the_same_time_keep_their_steps(client: HuggingPlace, delivered: Delivered) -> None:
    session = client.start_session()
    together = threading.Barrier(4)

    def turn(number: int) -> str:
        with session.step("turn"):
            with session.step(f"step {number}"):
                together.wait(10)
            return session.log(user_prompt=str(number))

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(turn, range(4)))
    found = {item["id"]: item for item in delivered() if "kind" not in item}
    assert [names(found[each]["step_data"]) for each in ids] == [[f"step {number}"] for number in range(4)]


def test_steps_without_an_interaction_are_sent_by_themselves(
    make: Callable[..., HuggingPlace], listing: Listing
) -> None:
    client = make()
    with client.start_session("s") as session, session.step("in a session"):
        pass
    with client.step("alone"), client.step("inside"):
        pass
    waiting = client.start_session("t")
    with waiting.step("at the end"):
        pass
    client.close(5)
    assert names(listing.items) == ["in a session", ("alone", ["inside"]), "at the end"]
    assert {item["kind"] for item in listing.items} == {"step"}
    assert [item.get("session_id") for item in listing.items] == ["s", None, "t"]


def test_more_steps_than_fit_an_interaction_lose_none(client: HuggingPlace, delivered: Delivered) -> None:
    session = client.start_session("s")
    for number in range(1500):
        with session.step(str(number)):
            pass
    session.log(user_prompt="x")
    found = [step["name"] for item in delivered() for step in (item.get("step_data") or [item]) if "name" in step]
    assert sorted(found, key=int) == [str(number) for number in range(1500)]


def test_deep_steps_stand_beside_their_parents(client: HuggingPlace, delivered: Delivered) -> None:
    def deeper(level: int) -> None:
        if level <= 20:
            with session.step(str(level)):
                deeper(level + 1)

    session = client.start_session()
    deeper(1)
    session.log(user_prompt="x")
    [item] = delivered()
    found, parents, level = [], {}, item["step_data"]
    while level:
        found += [node["name"] for node in level]
        parents.update({node["name"]: node.get("parent_id") for node in level})
        level = [inner for node in level for inner in node.get("steps", ())]
    assert sorted(found, key=int) == [str(number) for number in range(1, 21)]
    assert parents["8"] is None
    assert parents["20"] is not None


def test_large_steps_do_not_cost_their_interaction(client: HuggingPlace, delivered: Delivered) -> None:
    session = client.start_session("s")
    for number in range(3):
        with session.step(str(number)) as step:
            step.output = "x" * 1_000_000
    logged = session.log(user_prompt="x")
    items = delivered()
    assert items[0]["id"] == logged
    assert [(item["name"], item["interaction_id"]) for item in items[1:]] == [
        ("0", logged),
        ("1", logged),
        ("2", logged),
    ]


async def test_tasks_have_the_step_they_were_made_in_and_threads_by_propagate(
    client: HuggingPlace, delivered: Delivered
) -> None:
    async def in_a_task(name: str) -> None:
        with client.step(name):
            await asyncio.sleep(0.01)

    def in_a_thread() -> None:
        with client.step("thread"):
            pass

    with client.start_session("s") as session:
        with session.step("turn"):
            await asyncio.gather(in_a_task("a"), in_a_task("b"))
            await asyncio.to_thread(in_a_thread)
            with ThreadPoolExecutor() as pool:
                pool.submit(propagate(in_a_thread)).result()
                pool.submit(in_a_thread).result()
        session.log(user_prompt="x")
    *alone, item = sorted(delivered(), key=lambda item: "user_prompt" in item)
    [turn] = item["step_data"]
    assert sorted(names(turn["steps"])) == ["a", "b", "thread", "thread"]
    assert names(alone) == ["thread"]


def test_traced_functions_of_every_kind(client: HuggingPlace, delivered: Delivered) -> None:
    @trace
    def plain(x: int, *, y: int = 2) -> int:
        return x + y

    @trace(name="items", type="retrieval")
    def items(number: int) -> Iterator[int]:
        yield from range(number)

    @trace
    async def coroutine(x: int) -> int:
        await asyncio.sleep(0)
        return plain(x, y=3)

    @trace
    async def async_items(number: int) -> AsyncIterator[str]:
        for each in range(number):
            yield str(each)

    @trace(capture=False)
    def secret(password: str) -> str:
        return password

    async def use() -> None:
        assert await coroutine(1) == 4
        assert [item async for item in async_items(2)] == ["0", "1"]

    with client.start_session() as session:
        assert plain(1) == 3
        assert list(items(3)) == [0, 1, 2]
        asyncio.run(use())
        assert secret("hunter2") == "hunter2"
        session.log(user_prompt="x")
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(items)
    assert inspect.isasyncgenfunction(async_items)
    assert plain.__name__ == "plain"
    steps = {step["name"].rpartition(".")[2]: step for step in delivered()[0]["step_data"]}
    assert steps["plain"]["input"] == {"x": 1}
    assert steps["plain"]["output"] == 3
    assert (steps["items"]["type"], steps["items"]["output"]) == ("retrieval", [0, 1, 2])
    assert [inner["name"].rpartition(".")[2] for inner in steps["coroutine"]["steps"]] == ["plain"]
    assert steps["async_items"]["output"] == "01"
    assert "input" not in steps["secret"]
    assert "output" not in steps["secret"]


def test_the_step_of_a_generator_is_not_that_of_its_consumer(client: HuggingPlace, delivered: Delivered) -> None:
    @client.trace
    def numbers() -> Iterator[int]:
        for number in range(3):
            with client.step(f"inside {number}"):
                pass
            yield number

    with client.start_session() as session:
        for number in numbers():
            with client.step(f"outside {number}"):
                pass
            if number == 1:
                break
        session.log(user_prompt="x")
    steps = delivered()[0]["step_data"]
    assert sorted(str(name) for name in names(steps)) == [
        "('test_the_step_of_a_generator_is_not_that_of_its_consumer.<locals>.numbers', ['inside 0', 'inside 1'])",
        "outside 0",
        "outside 1",
    ]


def test_generators_are_sent_to_and_thrown_into_as_before(client: HuggingPlace) -> None:
    @client.trace
    def echo() -> Generator[Any, Any, str]:
        said: Any = None
        while said != "end":
            try:
                said = yield said
            except ValueError as error:
                said = f"caught {error}"
        return "bye"

    generator: Any = echo()
    assert next(generator) is None
    assert generator.send("a") == "a"
    assert generator.throw(ValueError("b")) == "caught b"
    with pytest.raises(StopIteration) as stopped:
        generator.send("end")
    assert stopped.value.value == "bye"


async def test_asynchronous_generators_are_thrown_into_and_closed_as_before(client: HuggingPlace) -> None:
    closed = []

    @client.trace
    async def echo() -> AsyncIterator[Any]:
        said: Any = None
        try:
            while True:
                try:
                    said = yield said
                except ValueError as error:
                    said = f"caught {error}"
        finally:
            closed.append(True)

    generator: Any = echo()
    assert await anext(generator) is None
    assert await generator.asend("a") == "a"
    assert await generator.athrow(ValueError("b")) == "caught b"
    await generator.aclose()
    assert closed == [True]


def test_a_step_may_be_left_in_another_context(client: HuggingPlace, delivered: Delivered) -> None:
    def steps() -> Iterator[None]:
        with client.step("held"):
            yield

    generator = steps()
    contextvars.copy_context().run(next, generator)
    with pytest.raises(StopIteration):
        next(generator)
    with client.step("after"):
        pass
    assert names(delivered()) == ["held", "after"]


def test_without_a_client_a_traced_function_just_runs() -> None:
    @trace
    def plain(x: int) -> int:
        return x

    assert plain(1) == 1


def test_calls_with_wrong_arguments_raise_as_before(client: HuggingPlace) -> None:
    @client.trace
    def plain(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        plain()


async def test_the_asynchronous_client_has_the_same_names(listing: Listing, tmp_path: Any) -> None:
    public = {name for name in dir(HuggingPlace) if not name.startswith("_")}
    assert public == {name for name in dir(AsyncHuggingPlace) if not name.startswith("_")}
    async with AsyncHuggingPlace(org_id="acme", transport=listing, spool_dir=tmp_path) as client:
        async with client.start_session("s") as session:
            async with session.step("a"), client.step("b"):
                pass
            logged = await session.log(user_prompt="x", scores={"good": 1})
            await client.score(logged, "stars", 5)
        await client.log(user_prompt="y")
        assert await client.flush(5)
    x, good, stars, y = listing.items
    assert names(x["step_data"]) == [("a", ["b"])]
    assert (good["value"], stars["value"], y["user_prompt"]) == (1, 5, "y")
