"""All turns of this process, and the little that must outlive it: who answers what, and how it ended.

In the live store a turn is one key: first its owner, then whether anything was released, at last the frames
and the fact, so that a redelivered request is answered once and a finished answer can be read again.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
import structlog

from common.bus.live.frames import Frame
from common.bus.live.kept_answers import ENDED_PREFIX, TURN_PREFIX, audience_of, pack_ended, unpack_ended
from common.bus.live.reader import MAILBOX_TTL_MS
from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError
from common.bus.request_reply import reply_to
from common.events.chat import (
    AnswerAttach,
    AnswerStop,
    Delivered,
    SessionInterrupt,
    StopReason,
    StopReceipts,
    TurnReceipt,
)
from common.events.envelope import Event
from common.events.record import Record
from common.events.reply import Reply
from llm_stream.metrics import TURNS_RUNNING
from llm_stream.turns.turn import Turn

log = structlog.get_logger(__name__)

# Stops that came before their turn; more than this many unmatched ones are noise.
EARLY_STOPS = 10_000
WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn that ended before: its last fact and its frames."""

    fact: Record
    frames: list[Frame]


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop signal as it arrived."""

    reason: StopReason
    signal_at: float
    delivered: int | None = None
    last_byte_at: float | None = None
    # The request was never accepted: no turn, no fact.
    withdrawn: bool = False
    # Seconds from the signal in which the client may still take its answer up.
    grace: float = 0.0
    # Who waits for the receipt, if anybody does.
    reply_to: str | None = None
    ask_id: str = ""


class Turns:
    """Registry of running turns, the signals to them, and their keys in the live store."""

    def __init__(self, live: LiveWriter, *, keep_seconds: int) -> None:
        self._live = live
        self._keep_seconds = keep_seconds
        self._answering: set[str] = set()
        self._running: dict[str, Turn] = {}
        TURNS_RUNNING.set_function(lambda: len(self._running))
        self._early: OrderedDict[str, Stop] = OrderedDict()
        self._sessions: OrderedDict[str, Stop] = OrderedDict()
        self._grace_until = 0.0
        # Our own mailbox, set once the live reader is open: others tell by it whether we still live.
        self.owner = ""

    # -- registry -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def answering(self, request_id: str) -> Iterator[bool]:
        """Whether this process is the first to take up a request, which it is then at while the block runs."""
        if request_id in self._answering:
            yield False
            return
        self._answering.add(request_id)
        try:
            yield True
        finally:
            self._answering.remove(request_id)

    @contextlib.contextmanager
    def running(self, turn: Turn) -> Iterator[None]:
        """Reachable by signals while the block runs."""
        self._running[turn.request.request_id] = turn
        try:
            yield
        finally:
            turn.close()
            del self._running[turn.request.request_id]

    def stop_early(self, turn: Turn) -> None:
        """Stop a turn for which that was signalled before it began."""
        request = turn.request
        stop = self._early.pop(request.request_id, None)
        if stop is None:
            session = self._sessions.get(f"{request.org_id}/{request.session_id}")
            stop = session if session is not None and session.signal_at >= request.received_at else None
        if stop is None:
            return
        _client_left(turn, stop, stop.signal_at + stop.grace - time.time() if stop.grace else 0.0)
        self._tell(stop, [turn])

    # -- signals --------------------------------------------------------------------------------------------

    def on_stop(self, signal: AnswerStop) -> None:
        """Stop one answer, now or once its client has not come back."""
        stop = Stop(
            reason=signal.reason,
            signal_at=signal.at,
            delivered=signal.delivered,
            last_byte_at=signal.last_byte_at,
            withdrawn=signal.withdrawn,
            grace=signal.grace,
        )
        turn = self._running.get(signal.request_id)
        if turn is None:
            _remember(self._early, signal.request_id, stop)
        elif stop.reason == "client_closed" and signal.mailbox != turn.mailbox:
            # The old connection of a client that has meanwhile attached through another gateway.
            return
        elif stop.reason == "client_closed" and not stop.withdrawn:
            # What the request asked for holds however often its answer was taken up.
            _client_left(turn, stop, max(stop.grace, turn.request.resume_grace))
        else:
            apply_stop(turn, stop)

    def on_interrupt(self, signal: SessionInterrupt) -> None:
        """Stop every turn of a session that was received before the signal, and answer with the receipts."""
        session = f"{signal.org_id}/{signal.session_id}"
        asked = Stop(signal.reason, signal.at, reply_to=signal.reply_to, ask_id=signal.ask_id or "")
        _remember(self._sessions, session, asked)
        stopped = []
        for turn in [t for t in self._running.values() if f"{t.request.org_id}/{t.request.session_id}" == session]:
            if turn.request.received_at <= asked.signal_at and turn.receipt is None and not turn.over:
                left = signal.stopped.get(turn.request.request_id, Delivered())
                apply_stop(turn, replace(asked, delivered=left.delivered, last_byte_at=left.last_byte_at))
                stopped.append(turn)
        if stopped:
            self._tell(asked, stopped)

    def _tell(self, stop: Stop, stopped: Sequence[Turn]) -> None:
        """Answer with the receipts of what a stop ended."""
        if stop.reply_to is None:
            return
        receipts = [
            TurnReceipt(id=turn.request.request_id, **turn.receipt.model_dump()) for turn in stopped if turn.receipt
        ]
        reply_frame = reply_to(stop.ask_id, Reply(StopReceipts(receipts=tuple(receipts))))
        self._live.send(stop.reply_to, reply_frame)

    def on_attach(self, signal: AnswerAttach) -> None:
        """Whoever names a frame that was never sent is not answered: it would miss what comes until then."""
        turn = self._running.get(signal.request_id)
        if turn is None or signal.after > len(turn.frames):
            return
        if signal.audience != audience_of(turn.request.org_id, stream=turn.request.stream):
            return
        turn.attach(signal.mailbox, signal.after)

    async def watch_gateways(self) -> None:
        """Stop turns whose gateway instance is gone; runs for good."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            mailboxes = {turn.mailbox for turn in self._running.values() if turn.abandonable}
            # Our own is asked for as well: an engine that was away while nothing ran is to be noticed too.
            for mailbox in {self.owner, *mailboxes}:
                if await self._gone(mailbox):
                    self._gateway_lost(mailbox)

    async def _gone(self, mailbox: str) -> bool:
        """Whether nobody reads a mailbox although the engine answers, as it did for a while."""
        asked = time.monotonic()
        try:
            gone = not await self._live.listening(mailbox)
        except BusUnavailableError:
            gone = True
            asked = float("-inf")
        now = time.monotonic()
        # While the engine is away, or hangs, nobody can be heard; that says nothing about the gateway.
        if now - asked > WATCH_SECONDS:
            self._grace_until = now + MAILBOX_TTL_MS / 1000
        return gone and now > self._grace_until

    def _gateway_lost(self, mailbox: str) -> None:
        for turn in list(self._running.values()):
            if turn.mailbox != mailbox or not turn.abandonable:
                continue
            _client_left(turn, Stop("gateway_lost", time.time()), turn.request.resume_grace)

    # -- the live store -------------------------------------------------------------------------------------

    async def claim(self, event: Event[Any]) -> Ended | str:
        """Try to become the one who answers; to be called within `answering`.

        Returns `mine`; `taken` while another instance answers; `withdrawn` when nobody is to; `lost` when its
        answerer died after the client had heard something; or how the turn ended. Raises BusUnavailableError,
        and may then be tried again: a claim of our own is one whose acknowledgement was lost.
        """
        key = TURN_PREFIX + event.payload.request_id
        lives = max(1, int((event.deadline or time.time()) - time.time())) + self._keep_seconds
        mine = orjson.dumps({"owner": self.owner})
        former = await self._live.command("SET", key, mine, "NX", "GET", "EX", lives)
        if former is None:
            return "mine"
        state = orjson.loads(former)
        if "fact" in state:
            frames = await self._live.command("GET", ENDED_PREFIX + event.payload.request_id)
            fact = Record(**state["fact"] | {"value": state["fact"]["value"].encode()})
            return Ended(
                fact, unpack_ended(frames, audience_of(event.payload.org_id, stream=event.payload.stream)) or []
            )
        if state.get("withdrawn"):
            return "withdrawn"
        if state["owner"] != self.owner and await self._live.listening(state["owner"]):
            return "taken"
        if state.get("released"):
            return "lost"
        await self._live.command("SET", key, mine, "EX", lives)
        return "mine"

    def note_released(self, request_id: str) -> None:
        """From here on a crash must not start the answer over. Precedes the first frame on the same connection."""
        state = orjson.dumps({"owner": self.owner, "released": True})
        self._live.queue_command("SET", TURN_PREFIX + request_id, state, "XX", "KEEPTTL")

    def note_withdrawn(self, request_id: str) -> None:
        """The request was never accepted: whoever finds it again must not answer it."""
        state = orjson.dumps({"owner": self.owner, "withdrawn": True})
        self._live.queue_command("SET", TURN_PREFIX + request_id, state, "XX", "KEEPTTL")

    def note_ended(self, turn: Turn, fact: Record) -> None:
        """The turn is over; precedes its last frames on the same connection."""
        request = turn.request
        state = {
            "fact": {
                "topic": fact.topic,
                "key": fact.key,
                "value": fact.value.decode(),
                "headers": dict(fact.headers),
            },
        }
        keep = ("EX", self._keep_seconds)
        self._live.queue_command("SET", TURN_PREFIX + request.request_id, orjson.dumps(state), *keep)
        stored = pack_ended(turn.frames, audience_of(request.org_id, stream=request.stream))
        self._live.queue_command("SET", ENDED_PREFIX + request.request_id, stored, *keep)


def apply_stop(turn: Turn, stop: Stop) -> None:
    """Hand a stop to a turn."""
    turn.withdrawn = stop.withdrawn
    turn.stop(stop.reason, stop.signal_at, delivered=stop.delivered, last_byte_at=stop.last_byte_at)


def _client_left(turn: Turn, stop: Stop, grace: float) -> None:
    """Hand a stop to a turn unless somebody takes it up within `grace` seconds."""
    if grace > 0:
        turn.detach(grace, partial(apply_stop, turn, stop))
    else:
        apply_stop(turn, stop)


def _remember(stops: OrderedDict[str, Stop], key: str, stop: Stop) -> None:
    stops[key] = stop
    stops.move_to_end(key)
    while len(stops) > EARLY_STOPS:
        stops.popitem(last=False)
