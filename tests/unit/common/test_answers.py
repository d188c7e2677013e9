"""How use cases become answers: what each outcome is told as, when it is tried again, and what is counted."""

import contextlib
import gc
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from common.events.backoff import NEVER, Backoff
from common.events.envelope import Event
from common.events.reply import Reply, ReplyBody
from common.events.spec import EventSpec, Payload, RequestSpec, Topic
from common.failures import ProviderDown, Refused, StoreUnavailableError
from common.kernel.answers import Answers
from common.kernel.handlers import answer, on
from common.storage.unit_of_work import Answer, Repeated


class Question(Payload):
    text: str = ""


class Text(ReplyBody):
    text: str


COMMANDS, QUERIES = Topic("commands"), Topic("queries")
AT_ONCE = Backoff(attempts=2, first=0.0)
COMMAND = RequestSpec(
    type="a", version=1, payload=Question, reply=Text, topic=COMMANDS, key=lambda _: "", summary="", retry=AT_ONCE
)
QUERY = RequestSpec(
    type="b", version=1, payload=Question, reply=Text, topic=QUERIES, key=lambda _: "", summary="", retry=NEVER
)
FACT = EventSpec(type="c", version=1, payload=Question, topic=QUERIES, key=lambda _: "", summary="", retry=NEVER)

DONE, REFUSED = Reply(Text(text="done")), Refused(409, "Taken.", "name_taken")
AWAY = StoreUnavailableError("away")


@dataclass
class Deps:
    """A use case that has these outcomes one after the other, and what was answered before."""

    outcomes: list[Reply[Text] | Exception]
    kept: Answer | None = None
    tries: int = 0
    looks: int = field(default=0)


async def use_case(event: Event[Question], deps: Deps) -> Reply[Text]:
    deps.tries += 1
    outcome = deps.outcomes.pop(0)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def kept(deps: Deps, event: Event[Any]) -> Answer | None:
    deps.looks += 1
    return deps.kept


class World:
    """One service's answers, with a counter of its own."""

    def __init__(self) -> None:
        self._refusals = Counter("refusals", "Refusals.", ["code"], registry=CollectorRegistry())
        self.answers: Answers[Deps] = Answers(
            refusals=self._refusals,
            unavailable=Refused(503, "Away.", "database_unavailable"),
            commands=COMMANDS,
            done=kept,
            headers=self._headers,
        )

    @staticmethod
    def _headers(deps: Deps, event: Event[Any]) -> Mapping[str, str]:
        return {"x-by": "sandbox"}

    async def ask(self, deps: Deps, spec: RequestSpec[Question, Text] = COMMAND, **envelope: Any) -> Any:
        """The reply, or what was raised instead."""
        [handler] = self.answers.of([answer(spec, use_case)])
        event = Event(spec, Question(), **{"reply_to": "mailbox", **envelope})
        try:
            return await handler.act(event, deps)
        except Exception as error:  # noqa: BLE001 - the outcome under test
            return error

    def counted(self, code: str) -> float:
        return float(self._refusals.labels(code)._value.get())


@pytest.fixture
def world() -> World:
    return World()


async def test_a_reply_goes_out_with_what_every_answer_carries(world: World) -> None:
    reply = await world.ask(Deps([Reply(Text(text="done"), 201, {"a": "b"})]))
    assert (reply.body.text, reply.status, reply.headers) == ("done", 201, {"a": "b", "x-by": "sandbox"})


async def test_a_refusal_is_counted_and_carries_it_too(world: World) -> None:
    refused = await world.ask(Deps([REFUSED]))
    assert (refused.status, refused.code, refused.headers) == (409, "name_taken", {"x-by": "sandbox"})
    assert world.counted("name_taken") == 1


@pytest.mark.parametrize(
    ("down", "status", "details", "headers"),
    [
        (ProviderDown("No."), 503, {}, {}),
        (ProviderDown("No.", status=500), 502, {"provider_status": 500}, {}),
        (ProviderDown("No.", status=429, retry_after=1.2), 503, {"provider_status": 429}, {"retry-after": "2"}),
    ],
)
async def test_a_provider_that_is_down_is_told_once_and_not_tried_again(
    world: World, down: ProviderDown, status: int, details: dict[str, int], headers: dict[str, str]
) -> None:
    deps = Deps([down])
    refused = await world.ask(deps)
    assert (refused.status, refused.code, refused.details) == (status, "provider_unavailable", details)
    assert refused.headers == {**headers, "x-by": "sandbox"}
    assert (deps.tries, world.counted("provider_unavailable")) == (1, 1)


async def test_while_the_store_is_away_it_is_tried_as_often_as_the_event_allows(world: World) -> None:
    deps = Deps([AWAY, AWAY, DONE])
    assert (await world.ask(deps)).body == DONE.body
    again = Deps([AWAY, AWAY, AWAY])
    refused = [await world.ask(again), await world.ask(Deps([AWAY]), QUERY)]
    assert [(each.status, each.code) for each in refused] == [(503, "database_unavailable")] * 2
    assert (deps.tries, again.tries, refused[0].headers) == (3, 3, {})
    assert refused[0] is not world.answers.unavailable


async def test_nobody_is_kept_waiting_past_the_deadline(world: World) -> None:
    deps = Deps([AWAY, DONE])
    refused = await world.ask(deps, deadline=time.time() - 1)
    assert (refused.status, deps.tries) == (503, 1)


async def test_without_a_caller_the_failure_goes_to_the_kernel(world: World) -> None:
    assert await world.ask(Deps([AWAY, DONE]), reply_to=None) is AWAY


@pytest.mark.parametrize("before", [DONE, Refused(422, "No.", "draft_refused")])
async def test_a_repeated_command_gets_what_it_got_and_is_not_counted(world: World, before: Answer) -> None:
    found = [await world.ask(Deps([Repeated(before)])), await world.ask(Deps([REFUSED], kept=before))]
    assert [each.status for each in found] == [before.status] * 2
    assert world.counted("name_taken") == world.counted("draft_refused") == 0


async def test_a_query_has_no_answer_to_repeat(world: World) -> None:
    deps = Deps([REFUSED], kept=DONE)
    assert (await world.ask(deps, QUERY)).status == 409
    assert deps.looks == 0


async def test_a_bug_and_a_fact_are_the_kernels(world: World) -> None:
    bug = ValueError("bug")
    assert await world.ask(Deps([bug])) is bug

    async def take(event: Event[Question], deps: Deps) -> None: ...

    table = [on(FACT, take)]
    assert list(world.answers.of(table)) == table


async def test_nothing_of_a_refused_command_stays_behind_it() -> None:
    """A command may be megabytes, and the collector counts objects: it must not be needed."""

    async def refuse(event: Event[Question], deps: Deps) -> Reply[Text]:
        raise Refused(400, f"No {event.payload.text}.", "invalid")

    [handler] = World().answers.of([answer(COMMAND, refuse)])
    event = Event(COMMAND, Question(text="thanks"), reply_to="mailbox")
    left = weakref.ref(event.payload)
    gc.disable()
    try:
        with contextlib.suppress(Refused):
            await handler.act(event, Deps([]))
        del event
        assert left() is None
    finally:
        gc.enable()
