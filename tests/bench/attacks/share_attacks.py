"""Attacks on fair shares: one key that takes every place there is, or spends what it was not given (part E)."""

import itertools
import time
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import orjson

from tests.bench.attacks.attack import Attack
from tests.bench.attacks.ground import Ground, bearer, chat, new_session

# More than the 1,000 records that a service has in flight.
SLOW_STREAMS = 1500
DRAFTS = 200
TOKENS_PER_MINUTE = 1000
SPENDERS = 16
NO_WISH: Mapping[str, int] = {}


class SlowStreams(Attack):
    """1,500 streams of one organisation, each a word a second."""

    name, part = "slow streams", "E"

    async def run(self, ground: Ground) -> None:
        key = await ground.key()
        await ground.repeat(SLOW_STREAMS, partial(ground.ask, key, chat("slow")))


class ToolDrafts(Attack):
    """200 drafts at once of one organisation, by a model that never answers."""

    name, part = "tool drafts", "E"
    settings: ClassVar[Mapping[str, str]] = {
        "SONANT_DRAFT_URL": "UPSTREAM/v1",
        "SONANT_DRAFT_MODEL": "silent",
        "SONANT_DRAFT_KEY_ENV": "SONANT_ATTACK_KEY",
        "SONANT_ATTACK_KEY": "any",
    }

    async def run(self, ground: Ground) -> None:
        key = await ground.key("resources")
        body = {"description": "Tool to fetch weather data", "inputs": ["city"], "outputs": ["weather"]}
        await ground.repeat(DRAFTS, partial(ground.call, "POST", "/api/hume/tools/dynamic", key, body))


class TokenSpending(Attack):
    """A key with 1,000 tokens a minute of an upstream that gives 20,000 at a time, in sixteen lanes."""

    name, part = "token spending", "E"

    async def run(self, ground: Ground) -> None:
        limits = {"requests_per_minute": 100_000, "concurrent_streams": 1000}
        key = await ground.key("chat", tokens_per_minute=TOKENS_PER_MINUTE, **limits)
        spent, seconds = 0, ground.ends - time.monotonic()
        wishes = itertools.cycle([NO_WISH, {"max_tokens": 500}, {"max_tokens": 400, "n": 2}])

        async def once() -> None:
            nonlocal spent
            spent += await self._words(ground, key, next(wishes))

        await ground.repeat(SPENDERS, once)
        # What may be spent is a full bucket and what flows in meanwhile.
        ground.figures["times its budget"] = spent / (TOKENS_PER_MINUTE * (1 + seconds / 60))

    async def _words(self, ground: Ground, key: str, wish: Mapping[str, int]) -> int:
        """Ask once; the words that came."""
        name, body = new_session(), {**chat("spends"), **wish}
        headers = {**bearer(key), "x-session-id": name}
        async with ground.session.post("/v1/chat/completions", data=orjson.dumps(body), headers=headers) as answer:
            ground.answers[str(answer.status)] += 1
            if answer.status != 200:
                return 0
            ground.accepted.add(name)
            return (await answer.read()).count(b"word ")
