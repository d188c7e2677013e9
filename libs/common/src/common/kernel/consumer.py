"""The consumer: many records of a partition in flight, order kept per key, nothing lost, bad records parked."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, cast

import structlog

from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError, Log, Subscription
from common.bus.request_reply import send_refusal
from common.events import registry
from common.events.envelope import Event, UnreadableError, is_overdue, open_event
from common.events.record import Partition, Received
from common.events.spec import EventSpec, RequestSpec
from common.failures import Halt, Refused
from common.kernel import metrics
from common.kernel.brake import Brake, Scope
from common.kernel.dead_letters import AWAY_SECONDS, DeadLetters, Failures
from common.kernel.fair_starts import FairStarts
from common.kernel.handler_tries import FailedTries, tried_patiently
from common.kernel.handlers import D, Handler, Handlers
from common.kernel.in_hand import InHand
from common.kernel.progress import Progress, Step
from common.kernel.record_account import RecordAccount
from common.kernel.tasks import end
from common.kernel.turn_away import may_be_turned_away, turn_away
from common.metrics import labelled

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
POLL_RECORDS = 200
# What the records in hand may take in memory, by estimate; a record that exceeds it alone passes alone.
WORK_BYTES = 96 * 1024 * 1024
# Commits are cheap but not free; a crash redelivers at most what this long finished.
COMMIT_SECONDS = 0.1
# How often a record that waits for its brake looks whether it may go on.
HOLD_SECONDS = 0.25
# How long a record waits for its brake at most, and how many records read behind it on its partition may be finished
# meanwhile: until it is out of the way none of them is committed, and the log keeps them all.
MAX_HOLD_SECONDS = 300.0
MAX_BEHIND = 10_000
# How long a request waits for a place at most before its caller is told to come back.
PLACE_SECONDS = 10.0
# How long a service that says it is broken takes nothing in, before it tries the same record again.
HALT_SECONDS = 10.0
# Nothing came in or was finished for this long although work waits: wedged, not slow.
STALL_SECONDS = 60.0


class Consumer:
    """Runs the handlers of one service on its topics as one member of its group."""

    def __init__(
        self,
        *,
        log: Log,
        live: LiveWriter,
        group: str,
        instance: str,
        handlers: Handlers[D],
        deps: D,
        concurrency: int = 1000,
        work_bytes: int = WORK_BYTES,
        gather_seconds: float = 0.0,
        drain_seconds: float = 10.0,
        brake: Brake | None = None,
        halt_seconds: float = HALT_SECONDS,
        hold_seconds: float = MAX_HOLD_SECONDS,
        place_seconds: float = PLACE_SECONDS,
    ) -> None:
        self._log = log
        self._live = live
        self._group = group
        self._instance = instance
        self._handlers: dict[str, Handler[Any]] = {handler.spec.name: handler for handler in handlers}
        self._topics = list(dict.fromkeys(handler.spec.topic for handler in handlers))
        # Only these have a twin to park on.
        self._parking = {handler.spec.topic.name for handler in handlers if handler.spec.park}
        self._deps = deps
        self._in_hand = InHand(self._handlers, concurrency, work_bytes)
        self._starts = FairStarts()
        self._place_seconds = place_seconds
        self._gather_seconds = gather_seconds
        self._drain_seconds = drain_seconds
        self._brake = brake or Brake()
        self._halt_seconds = halt_seconds
        self._hold_seconds = hold_seconds
        self._dead_letters = DeadLetters(log)
        self._progress: dict[Partition, Progress] = {}
        self._lanes: dict[tuple[Partition, str], deque[tuple[Received, Step]]] = {}
        self._tasks: dict[asyncio.Task[None], tuple[Partition, bool, float]] = {}
        # Those that wait for a brake, a place or the end of a halt: nothing is lost if they end at once.
        self._held: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._to_commit: dict[Partition, str] = {}
        self._stopping = asyncio.Event()
        self._subscription: Subscription | None = None
        self._moved_at = time.monotonic()
        self._away = False
        self._polled = False
        self._polling: asyncio.Timeout | None = None
        self._halts: dict[str, str] = {}
        self._show()

    def _show(self) -> None:
        """Have the metrics of this group read what they tell."""
        group = self._group
        metrics.EVENTS_IN_HAND.labels(group).set_function(lambda: self._in_hand.count)
        metrics.BYTES_IN_HAND.labels(group).set_function(lambda: self._in_hand.weight)
        metrics.EVENTS_HELD.labels(group).set_function(lambda: len(self._held))
        metrics.EVENTS_WAITING.labels(group).set_function(lambda: self._in_hand.waiting)
        metrics.BRAKES_OPEN.labels(group).set_function(lambda: self._brake.open_scopes)
        metrics.CONSUMER_HALTED.labels(group).set_function(lambda: float(self.halted is not None))

    # -- life ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until `stop`, then drain and commit."""
        async with self._log.subscribe(self._topics, self._group, self._instance, self._revoked) as subscription:
            self._subscription = subscription
            committer = asyncio.create_task(self._commit_often(subscription), name=f"{self._group}-commit")
            gauge = asyncio.create_task(self._watch_lag(subscription), name=f"{self._group}-lag")
            try:
                await self._intake(subscription)
                await self._drain(set(self._tasks), self._drain_seconds)
            finally:
                await end(committer, gauge)
                await self._commit(subscription)

    def stop(self) -> None:
        """Take no more records in."""
        if self._polling is not None and not self._stopping.is_set():
            self._polling.reschedule(asyncio.get_running_loop().time())
        self._stopping.set()
        self._freed.set()

    @property
    def halted(self) -> str | None:
        """Why nothing is taken in for a moment, or None; it ends by itself when the handler works again."""
        return next(iter(self._halts.values()), None)

    def complaint(self) -> str | None:
        """Why this consumer is not ready, or None."""
        if self.halted:
            return f"halted: {self.halted}"
        if self._away or not self._polled:
            return "the log does not answer"
        idle = time.monotonic() - self._moved_at
        return f"no progress for {idle:.0f} s" if idle > STALL_SECONDS else None

    def serving(self) -> bool:
        """Whether it takes in what comes; a halt that just ends, or a log that is away, is told from outside."""
        return self.halted is None

    @property
    def topics(self) -> list[str]:
        return [topic.name for topic in self._topics]

    @property
    def stalled(self) -> bool:
        return self.halted is None and time.monotonic() - self._moved_at > STALL_SECONDS

    # -- intake -------------------------------------------------------------------------------------------

    async def _intake(self, subscription: Subscription) -> None:
        while not self._stopping.is_set():
            room = 0 if self._halts else self._in_hand.room
            if room <= 0:
                await self._await_room()
            # The first only finds out that the log answers, since until then this consumer is not ready.
            seconds = POLL_SECONDS if room > 0 and self._polled else 0.0
            try:
                records = await self._poll(subscription, max(0, min(room, POLL_RECORDS)), seconds)
            except BusUnavailableError as error:
                await self._wait_out(error)
                continue
            self._polled, self._away = True, False
            if records or room <= 0:
                self._moved_at = time.monotonic()
            if self._stopping.is_set():
                # Taking more in would only lengthen the drain; they come again.
                return
            for record in records:
                self._take(record)
            # The handlers begin before more is asked for, and what comes meanwhile is fetched together.
            await asyncio.sleep(self._gather_seconds)

    async def _poll(self, subscription: Subscription, max_records: int, seconds: float) -> Sequence[Received]:
        """Poll, but no longer than until `stop`: what an ended poll has read is not committed, and comes again."""
        try:
            async with asyncio.timeout(None) as self._polling:
                return await subscription.poll(max_records, seconds)
        except TimeoutError:
            if self._stopping.is_set():
                return ()
            raise
        finally:
            self._polling = None

    async def _wait_out(self, error: BusUnavailableError) -> None:
        metrics.LOG_UNAVAILABLE.labels("poll").inc()
        if not self._away:
            log.warning("log away", group=self._group, error=str(error))
        self._away = True
        self._moved_at = time.monotonic()
        await asyncio.sleep(AWAY_SECONDS)

    async def _await_room(self) -> None:
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._freed.wait()

    def _take(self, record: Received) -> None:
        step = self._progress.setdefault(record.partition, Progress()).start(record.offset)
        named = record.headers.get("event-type", "")
        known = self._handlers.get(named)
        if known is None and named in registry.BY_NAME:
            # Another service's, whatever it holds.
            self._finish(record, step)
            return
        within_part = self._in_hand.enter(record, step)
        if known is None:
            self._spawn(record, False, self._set_unreadable_aside(record, step))
            return
        if not within_part and may_be_turned_away(record, known):
            self._spawn(record, False, self._turn_away(record, step, known))
            return
        if not known.spec.ordered:
            self._spawn(record, False, self._handle(record, step))
            return
        lane = self._lanes.get((record.partition, record.key))
        if lane is None:
            lane = self._lanes[record.partition, record.key] = deque()
            lane.append((record, step))
            self._spawn(record, True, self._run_lane(lane, record))
        else:
            lane.append((record, step))

    def _spawn(self, record: Received, ordered: bool, work: Any) -> None:
        task = asyncio.create_task(work, name=_named(record))
        self._tasks[task] = (record.partition, ordered, time.monotonic())
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not finished, so never committed: it comes again with the next start.
            log.error("record cannot be finished", record=task.get_name(), exc_info=error)

    async def _run_lane(self, lane: deque[tuple[Received, Step]], first: Received) -> None:
        try:
            while lane:
                await self._handle(*lane.popleft())
        finally:
            # Cancelled: what still queues is not in hand any more; it was not finished and comes again.
            for waiting in lane:
                self._release(*waiting)
            del self._lanes[first.partition, first.key]

    # -- one record ---------------------------------------------------------------------------------------

    async def _handle(self, record: Received, step: Step) -> None:
        handler = self._handlers[record.headers["event-type"]]
        started = time.monotonic()
        with RecordAccount(self._group, record, handler.spec) as account:
            try:
                account.outcome = outcome = await self._outcome_in_place(record, step, handler)
            finally:
                self._release(record, step)
        labelled(metrics.EVENT_SECONDS, handler.spec.type).observe(time.monotonic() - started)
        self._finish(record, step, handler.spec, outcome)

    async def _set_unreadable_aside(self, record: Received, step: Step) -> None:
        """Whose event it was meant to be nobody can tell. A newer release may, once its dead letter is replayed."""
        named = "event-type" in record.headers
        fault = record.fault or ("no event of this release is called so" if named else "it says no event type")
        try:
            await self._park_unreadable(record, None, UnreadableError(fault))
        finally:
            self._release(record, step)
        self._finish(record, step)

    async def _turn_away(self, record: Received, step: Step, handler: Handler[Any]) -> None:
        """Too much of this organisation is in hand already: what comes beyond that is not even queued."""
        with RecordAccount(self._group, record, handler.spec) as account:
            try:
                account.outcome = outcome = await self._refuse_place(record, handler)
            finally:
                self._release(record, step)
        self._finish(record, step, handler.spec, outcome)

    def _release(self, record: Received, step: Step) -> None:
        self._in_hand.leave(record, step)
        self._freed.set()

    async def _outcome_in_place(self, record: Received, step: Step, handler: Handler[Any]) -> str:
        places, owner = self._in_hand.seating(record).places, step.owner
        if not places.take(owner):
            seconds = self._place_seconds if may_be_turned_away(record, handler) else None
            with self._waiting_held():
                placed = await places.wait(owner, seconds)
            if not placed:
                return await self._refuse_place(record, handler)
        try:
            if "reply-to" in record.headers:
                await self._starts.take(owner)
            return await self._outcome_at_last(record, handler)
        finally:
            places.give_back(owner)

    async def _refuse_place(self, record: Received, handler: Handler[Any]) -> str:
        try:
            event = open_event(record, handler.spec)
        except (KeyError, ValueError) as error:
            return await self._park_unreadable(record, handler, error)
        await turn_away(event, handler, self._deps, self._live)
        return "turned away"

    async def _outcome_at_last(self, record: Received, handler: Handler[Any]) -> str:
        """However often the service halts meanwhile: this record is what shows whether it works again."""
        name = ""
        try:
            while True:
                try:
                    return await self._outcome(record, handler)
                except Halt as error:
                    name = _named(record)
                    metrics.CONSUMER_HALTS.labels(self._group).inc()
                    log.error("consumer halted", record=name, reason=str(error))
                    self._halts[name] = str(error)
                    self._freed.set()
                except Exception as error:
                    # A bug of the kernel holds up this record and nothing else.
                    metrics.EVENT_BUGS.labels(handler.spec.type).inc()
                    log.error("record cannot be finished", record=_named(record), exc_info=error)
                await self._pause(self._halt_seconds)
        finally:
            self._halts.pop(name, None)

    async def _outcome(self, record: Received, handler: Handler[Any]) -> str:
        spec = handler.spec
        if spec.expires and is_overdue(record):
            return "expired"
        try:
            event = open_event(record, spec)
        except (KeyError, ValueError) as error:
            return await self._park_unreadable(record, handler, error)
        scope = Scope(record.partition, str(getattr(event.payload, "org_id", "")), spec.type)
        probing = False
        patience_ends = time.monotonic() + self._hold_seconds
        while True:
            tried = await tried_patiently(event, handler, self._deps, self._live)
            if tried is None:
                if probing:
                    self._brake.close(scope)
                self._brake.note(scope, parked=False)
                return "done"
            if event.reply_to is not None and event.request_id is not None:
                return await self._fail_for_caller(record, handler, event, tried)
            if not spec.park:
                return "dropped"
            if not self._brake.is_open(scope) or not await self._hold(scope, patience_ends):
                await self._dead_letters.park(record, handler.name, *tried)
                self._brake.note(scope, parked=True)
                return "parked"
            probing = True

    async def _fail_for_caller(
        self, record: Received, handler: Handler[Any], event: Event[Any], failure: FailedTries
    ) -> str:
        """Tell the one who waits, once. What a caller provokes says nothing about others: no brake counts it.

        A command or query is over with its answer, and whoever asked may ask again: replaying it later would do what
        nobody expects any more. Any other event is parked, since a fact is owed for it.
        """
        refused = Refused(500, "The request could not be handled.", "internal_error", type="server_error")
        send_refusal(self._live, event, refused)
        if isinstance(handler.spec, RequestSpec):
            return "failed"
        if not handler.spec.park:
            return "dropped"
        await self._dead_letters.park(record, handler.name, *failure)
        return "parked"

    async def _park_unreadable(self, record: Received, handler: Handler[Any] | None, error: Exception) -> str:
        """No brake counts it: whoever wrote it can be anybody, and waiting makes it no better."""
        labelled(metrics.EVENTS_UNREADABLE, record.topic).inc()
        if record.topic not in self._parking or (handler is not None and not handler.spec.park):
            return "dropped"
        name = "" if handler is None else handler.name
        await self._dead_letters.park(record, name, error, Failures(1, time.time()))
        return "parked"

    async def _hold(self, scope: Scope, until: float) -> bool:
        """Wait until the brake lets this record be tried again; False where it has to give way."""
        while not self._in_hand.busy and time.monotonic() < until:
            progress = self._progress.get(scope.partition)
            if progress is not None and progress.length > MAX_BEHIND:
                return False
            await self._pause(HOLD_SECONDS)
            if self._brake.probe(scope):
                return True
        return False

    async def _pause(self, seconds: float) -> None:
        with self._waiting_held():
            await asyncio.sleep(seconds)

    @contextlib.contextmanager
    def _waiting_held(self) -> Iterator[None]:
        """Wait as a task that may be cancelled at any time."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._held.add(task)
        try:
            yield
        finally:
            self._held.discard(task)

    # -- offsets ------------------------------------------------------------------------------------------

    def _finish(self, record: Received, step: Step, spec: EventSpec[Any] | None = None, outcome: str = "") -> None:
        step.done = True
        self._moved_at = time.monotonic()
        if spec is not None:
            labelled(metrics.EVENTS_HANDLED, spec.type, outcome).inc()
        progress = self._progress.get(record.partition)
        offset = progress.advance() if progress else None
        if offset is not None:
            self._to_commit[record.partition] = offset

    async def _commit_often(self, subscription: Subscription) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit(subscription)

    async def _commit(self, subscription: Subscription) -> None:
        if not self._to_commit:
            return
        offsets, self._to_commit = self._to_commit, {}
        try:
            await subscription.commit(offsets)
        except BusUnavailableError as error:
            metrics.LOG_UNAVAILABLE.labels("commit").inc()
            log.warning("commit postponed", group=self._group, error=str(error))
            self._to_commit = {**offsets, **self._to_commit}

    async def _watch_lag(self, subscription: Subscription) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            lag = await subscription.lag()
            metrics.CONSUMER_LAG.labels(self._group).set(lag or 0)
            if not lag:
                # Nothing to move on to, or no telling: an empty poll is progress enough.
                self._moved_at = time.monotonic()

    # -- leaving ------------------------------------------------------------------------------------------

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        """Finish what is in hand of these partitions.

        What takes longer than the budget goes on if order does not matter to it, since its next owner can
        tell; ordered work is cancelled and will be redelivered.
        """
        mine = {task for task, (partition, _, _) in self._tasks.items() if partition in partitions}
        await self._cancel(mine & self._held)
        if mine:
            await asyncio.wait(mine, timeout=self._drain_seconds)
        await self._cancel({task for task in mine if task in self._tasks and self._tasks[task][1]})
        if self._subscription is not None:
            await self._commit(self._subscription)
        for partition in partitions:
            self._progress.pop(partition, None)

    async def _drain(self, tasks: set["asyncio.Task[None]"], budget: float) -> None:
        await self._cancel(tasks & self._held)
        tasks = {task for task in tasks if not task.done()}
        for task in tasks:
            log.info("draining", work=task.get_name(), age=round(time.monotonic() - self._tasks[task][2], 3))
        if tasks:
            await asyncio.wait(tasks, timeout=budget)
        await self._cancel({task for task in tasks if not task.done()})

    @staticmethod
    async def _cancel(tasks: set["asyncio.Task[None]"]) -> None:
        for task in tasks:
            log.warning("cancelled, comes again", work=task.get_name())
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _named(record: Received) -> str:
    """Where a record stands, for logs."""
    return f"{record.topic}/{record.partition.number}@{record.offset}"
