"""The cache of answers: an exact repeat of a conversation is answered with what was said before, and costs nothing.

What is kept is the text of an answer that said nothing else, for the organisation that asked. The same question asked
many times at once is asked of an upstream once.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import orjson
import structlog

from common.events.chat import ChatReplyRequested, Usage
from common.events.token_estimate import content_tokens
from common.metrics import labelled
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.own_words import Ready, send_ready
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.request_fields import CHAT_FIELDS, wanted_fields, wanted_message
from llm_stream.metrics import ANSWER_CACHE
from llm_stream.ports import AnswerStore, CacheUnavailable

log = structlog.get_logger(__name__)

HEADER = "x-sonant-cache"
FLAG = "response_cache"
# Of the conversation, by estimate: a larger one is hardly asked twice, and takes long to compare.
MAX_ASKED_TOKENS = 64_000
# How an answer is sent is no part of what is asked.
NOT_ASKED = frozenset({"model", "stream", "stream_options"})
# What makes an answer more than its text.
MORE_THAN_TEXT = ("logprobs", "top_logprobs", "audio", "modalities", "functions", "web_search_options", "prediction")
# Nobody waits longer for somebody else's answer, or for another process to be done.
FLIGHT_SECONDS = 30.0
POLL_SECONDS = 0.1
# While this is kept, nobody waits: the answer was none that can be kept.
NOTHING = b"-"
NOTHING_SECONDS = 2.0
# How often a request waits for others whose answers come to nothing, before it asks for itself.
MAX_FLIGHTS = 3
# Of a request that asks for the cache where alias and flags name no time.
DEFAULT_SECONDS = 300.0

Mode: TypeAlias = Literal["on", "refresh"]
R = TypeVar("R")


class Cached(NamedTuple):
    """An answer as it is kept."""

    text: str
    model: str
    usage: Usage

    def pack(self) -> bytes:
        """As bytes."""
        counts = (self.usage.prompt_tokens, self.usage.completion_tokens)
        return orjson.dumps((self.text, self.model, *counts))

    @classmethod
    def unpack(cls, kept: bytes) -> "Cached":
        """From bytes."""
        text, model, prompt, completion = orjson.loads(kept)
        usage = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
        return cls(text, model, usage)


class Landed(Enum):
    """What came of a flight that is no answer."""

    # It failed, or its client left: another one may try.
    AGAIN = auto()
    # Its answer is none that can be kept: all others ask for themselves.
    ALONE = auto()


Flight: TypeAlias = "asyncio.Future[Cached | Landed]"
Make: TypeAlias = Callable[[PreparedRequest], Awaitable[FinishedAnswer | R | None]]


def cache_mode(prepared: PreparedRequest) -> Mode | None:
    """Whether the cache is asked, or only filled; None where it is off, or the answer is none that could be kept."""
    request = prepared.request
    # Documents change, and with them the answer to an exact repeat.
    if not isinstance(request, ChatReplyRequested) or request.cache == "off" or prepared.search is not None:
        return None
    flag = prepared.flags.get(FLAG)
    enabled = flag is True or (flag is not False and prepared.alias.cache_seconds is not None)
    if not (enabled or request.cache in ("on", "refresh")) or not _is_plain(prepared):
        return None
    return "refresh" if request.cache in ("refresh", "bypass") else "on"


def _is_plain(prepared: PreparedRequest) -> bool:
    """Whether the answer may be one text. Tools that Sonant runs have effects, and read what changes."""
    body = prepared.body
    if content_tokens(message.get("content") for message in body["messages"]) > MAX_ASKED_TOKENS:
        return False
    return prepared.tools is None and prepared.choices == 1 and not any(body.get(name) for name in MORE_THAN_TEXT)


def cache_key(prepared: PreparedRequest) -> str:
    """What is equal in exact repeats: organisation, alias with its upstreams, and all that they are asked.

    What platforms put beside the words (times, ids, measures) is left out.
    """
    fields = wanted_fields(prepared.body, None, CHAT_FIELDS)
    asked = {name: value for name, value in fields.items() if name not in NOT_ASKED and value is not None}
    asked["messages"] = [wanted_message(message, None) for message in prepared.body["messages"]]
    models = [(upstream.base_url, upstream.model) for upstream in prepared.alias.upstreams]
    named = orjson.dumps((prepared.request.org_id, models, asked), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(named).hexdigest()


class AnswerCache:
    """The answers that are kept, and those that are being made for them by this process."""

    def __init__(self, store: AnswerStore, *, max_entry_bytes: int) -> None:
        self._store = store
        self._max_entry_bytes = max_entry_bytes
        self._flights: dict[str, Flight] = {}

    async def answered(
        self, mode: Mode, prepared: PreparedRequest, answer: AnswerInProgress, make: Make[R]
    ) -> FinishedAnswer | R | None:
        """What is kept, sent; or what `make` makes, kept for the next one. Raises as `make`."""
        key = cache_key(prepared)
        if mode == "refresh":
            answer.notes.cache = mode
            labelled(ANSWER_CACHE, mode).inc()
            made, _ = await self._made(key, prepared, make, mode)
            return made
        for _ in range(MAX_FLIGHTS):
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key, prepared, answer, make)
            landed = await _landed(flight, answer.deadline)
            if isinstance(landed, Cached):
                return await self._hit(landed, prepared, answer)
            if landed is Landed.ALONE:
                break
        return await self._miss(key, prepared, answer, make)

    async def _lead(
        self, key: str, prepared: PreparedRequest, answer: AnswerInProgress, make: Make[R]
    ) -> FinishedAnswer | R | None:
        """Answer for all of this process that ask the same meanwhile."""
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        landed: Cached | Landed = Landed.AGAIN
        owner = prepared.request.request_id
        try:
            found = await self._found(key, owner, answer.deadline)
            if isinstance(found, Cached):
                landed = found
                return await self._hit(found, prepared, answer)
            if found is Landed.ALONE:
                landed = found
            answer.notes.cache = "miss"
            labelled(ANSWER_CACHE, "miss").inc()
            made, kept = await self._made(key, prepared, make, "miss")
            landed = kept or Landed.ALONE
            return made
        finally:
            del self._flights[key]
            flight.set_result(landed)
            await self._release(key, owner)

    async def _miss(
        self, key: str, prepared: PreparedRequest, answer: AnswerInProgress, make: Make[R]
    ) -> FinishedAnswer | R | None:
        answer.notes.cache = "miss"
        labelled(ANSWER_CACHE, "miss").inc()
        made, _ = await self._made(key, prepared, make, "miss")
        return made

    async def _hit(self, cached: Cached, prepared: PreparedRequest, answer: AnswerInProgress) -> FinishedAnswer | None:
        answer.notes.cache = "hit"
        labelled(ANSWER_CACHE, "hit").inc()
        ready = Ready(cached.text, "cache", cached.model, told=cached.usage)
        return await send_ready(ready, prepared, answer, {HEADER: "hit"})

    async def _found(self, key: str, owner: str, deadline: float) -> Cached | Landed | None:
        """What is kept, once whoever is making it in another process is done; None where it is ours to make."""
        give_up = min(deadline, time.time() + FLIGHT_SECONDS)
        try:
            while True:
                kept = await self._store.get(key)
                if kept == NOTHING:
                    return Landed.ALONE
                if kept is not None:
                    return Cached.unpack(kept)
                if await self._store.take(key, owner, FLIGHT_SECONDS):
                    return None
                if time.time() >= give_up:
                    return Landed.ALONE
                await asyncio.sleep(POLL_SECONDS)
        except CacheUnavailable as error:
            _unavailable(error)
            return Landed.ALONE

    async def _made(
        self, key: str, prepared: PreparedRequest, make: Make[R], said: str
    ) -> tuple[FinishedAnswer | R | None, Cached | None]:
        """What is made now, and what of it is kept."""
        made = await make(prepared._replace(cache=said))
        if not isinstance(made, FinishedAnswer):
            return made, None
        cached = self._keepable(made)
        try:
            if cached is None:
                await self._store.put(prepared.request.org_id, key, NOTHING, NOTHING_SECONDS)
            else:
                seconds = prepared.alias.cache_seconds or DEFAULT_SECONDS
                await self._store.put(prepared.request.org_id, key, cached.pack(), seconds)
                labelled(ANSWER_CACHE, "kept").inc()
        except CacheUnavailable as error:
            _unavailable(error)
        return made, cached

    def _keepable(self, made: FinishedAnswer) -> Cached | None:
        if made.heard is None or made.finish_reason != "stop":
            return None
        text = made.heard.plain_text()
        if not text or len(text.encode(errors="surrogatepass")) > self._max_entry_bytes:
            return None
        return Cached(text, made.model or "", made.usage)

    async def _release(self, key: str, owner: str) -> None:
        try:
            await self._store.release(key, owner)
        except CacheUnavailable as error:
            _unavailable(error)


async def _landed(flight: Flight, deadline: float) -> Cached | Landed:
    """What comes of somebody else's flight, as long as it is worth waiting."""
    wait = max(0.0, min(FLIGHT_SECONDS, deadline - time.time()))
    done, _ = await asyncio.wait({flight}, timeout=wait)
    return flight.result() if done else Landed.ALONE


def _unavailable(error: Any) -> None:
    labelled(ANSWER_CACHE, "unavailable").inc()
    log.warning("the cache of answers does not answer", error=str(error))
