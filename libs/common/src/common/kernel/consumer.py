"""The consumer: many records of a partition in flight, order kept per key, nothing lost, bad records parked."""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError

from common.bus.live.writer import LiveWriter
from common.bus.port import BusUnavailableError, Log, Subscription
from common.bus.request_reply import send_refusal, send_reply
from common.events import trace
from common.events.envelope import Event, open_event
from common.events.record import Partition, Received, Record
from common.events.spec import EventSpec
from common.failures import Halt, Park, Refused, Retry
from common.kernel import metrics
from common.kernel.brake import Brake
from common.kernel.handlers import D, Handler, Handlers
from common.kernel.progress import Progress, Step
from common.kernel.tasks import end
from common.metrics import labelled

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
POLL_RECORDS = 200
# Commits are cheap but not free; a crash redelivers at most what this long finished.
COMMIT_SECONDS = 0.1
# While the engine is away: often enough to be back within a second, seldom enough not to spin.
AWAY_SECONDS = 0.2
# A bug is given a few tries, since it may have been a race; then the record is parked, not the whole lane.
BUG_TRIES = 5
# Nothing came in or was finished for this long although work waits: wedged, not slow.
STALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Failures:
    """How often a record was tried, and when it failed first (unix seconds)."""

    attempts: int
    first_at: float


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
        gather_seconds: float = 0.0,
        drain_seconds: float = 10.0,
        brake: Brake | None = None,
    ) -> None:
        self._log = log
        self._live = live
        self._group = group
        self._instance = instance
        self._handlers: dict[str, Handler[Any]] = {handler.spec.name: handler for handler in handlers}
        self._topics = list(dict.fromkeys(handler.spec.topic for handler in handlers))
        self._deps = deps
        self._concurrency = concurrency
        self._gather_seconds = gather_seconds
        self._drain_seconds = drain_seconds
        self._brake = brake or Brake()
        self._progress: dict[Partition, Progress] = {}
        self._lanes: dict[tuple[Partition, str], deque[tuple[Received, Step]]] = {}
        self._tasks: dict[asyncio.Task[None], tuple[Partition, bool, float]] = {}
        self._in_hand = 0
        metrics.EVENTS_IN_HAND.labels(group).set_function(lambda: self._in_hand)
        self._freed = asyncio.Event()
        self._to_commit: dict[Partition, str] = {}
        self._stopping = asyncio.Event()
        self._subscription: Subscription | None = None
        self._moved_at = time.monotonic()
        self._away = False
        self._polled = False
        self.halted: str | None = None

    # -- life ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until `stop`, then drain and commit. Returns early, with `halted` set, when broken."""
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
        self._stopping.set()
        self._freed.set()

    def complaint(self) -> str | None:
        """Why this consumer is not ready, or None."""
        if self.halted:
            return f"halted: {self.halted}"
        if self._away or not self._polled:
            return "the log does not answer"
        idle = time.monotonic() - self._moved_at
        return f"no progress for {idle:.0f} s" if idle > STALL_SECONDS else None

    @property
    def stalled(self) -> bool:
        return self.halted is None and time.monotonic() - self._moved_at > STALL_SECONDS

    # -- intake -------------------------------------------------------------------------------------------

    async def _intake(self, subscription: Subscription) -> None:
        while not self._stopping.is_set() and self.halted is None:
            room = self._concurrency - self._in_hand
            if room <= 0:
                await self._await_room()
            try:
                records = await subscription.poll(max(0, min(room, POLL_RECORDS)), POLL_SECONDS if room > 0 else 0.0)
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
        known = self._handlers.get(record.headers.get("event-type", ""))
        if known is None:
            self._finish(record, step, "skipped")
            return
        self._in_hand += 1
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
        task = asyncio.create_task(work, name=f"{record.topic}/{record.partition.number}@{record.offset}")
        self._tasks[task] = (record.partition, ordered, time.monotonic())
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.halted = f"{type(error).__name__}: {error}"
            self._freed.set()

    async def _run_lane(self, lane: deque[tuple[Received, Step]], first: Received) -> None:
        try:
            while lane:
                await self._handle(*lane.popleft())
        finally:
            # Cancelled: what still queues is not in hand any more; it was not finished and comes again.
            self._release(len(lane))
            del self._lanes[first.partition, first.key]

    # -- one record ---------------------------------------------------------------------------------------

    async def _handle(self, record: Received, step: Step) -> None:
        handler = self._handlers[record.headers["event-type"]]
        started = time.monotonic()
        trace.enter(record.headers.get("traceparent"))
        try:
            outcome = await self._outcome(record, handler)
        finally:
            self._release(1)
        labelled(metrics.EVENT_SECONDS, handler.spec.type).observe(time.monotonic() - started)
        self._brake.note(parked=outcome == "parked")
        self._finish(record, step, outcome, handler.spec)

    def _release(self, records: int) -> None:
        self._in_hand -= records
        self._freed.set()

    async def _outcome(self, record: Received, handler: Handler[Any]) -> str:
        spec = handler.spec
        try:
            event = open_event(record, spec)
        except (ValidationError, KeyError, ValueError) as error:
            return await self._park(record, handler, None, error, _Failures(1, time.time()))
        if spec.expires and event.deadline is not None and event.deadline < time.time():
            return "expired"
        first_failure = 0.0
        attempt = 0
        while True:
            attempt += 1
            try:
                reply = await handler.act(event, self._deps)
            except Halt:
                raise
            except Refused as refused:
                send_refusal(self._live, event, refused)
                return "done"
            except Park as error:
                return await self._park(record, handler, event, error, _Failures(attempt, first_failure or time.time()))
            except Exception as error:
                first_failure = first_failure or time.time()
                self._note_failure(spec, event, error)
                delay = spec.retry.delay(attempt) if isinstance(error, Retry) or attempt < BUG_TRIES else None
                if delay is None:
                    return await self._park(record, handler, event, error, _Failures(attempt, first_failure))
                await asyncio.sleep(delay)
            else:
                if reply is not None:
                    send_reply(self._live, event, reply)
                return "done"

    def _note_failure(self, spec: EventSpec[Any], event: Event[Any], error: Exception) -> None:
        metrics.EVENT_RETRIES.labels(spec.type).inc()
        if isinstance(error, Retry):
            log.info("handler asks for another try", event_type=spec.type, event_id=event.id, error=str(error))
            return
        metrics.EVENT_BUGS.labels(spec.type).inc()
        log.error("handler failed unexpectedly", event_type=spec.type, event_id=event.id, exc_info=error)

    async def _park(
        self,
        record: Received,
        handler: Handler[Any],
        event: Event[Any] | None,
        error: Exception,
        failures: "_Failures",
    ) -> str:
        spec = handler.spec
        if event is not None:
            refused = Refused(500, "The request could not be handled.", "internal_error", type="server_error")
            send_refusal(self._live, event, refused)
        if not spec.park:
            return "dropped"
        if self._brake.tripped:
            raise Halt(f"too many dead letters on {record.topic}, the last one for {type(error).__name__}")
        passport = {
            "dlq-topic": record.topic,
            "dlq-partition": str(record.partition.number),
            "dlq-offset": record.offset,
            "dlq-handler": handler.name,
            "dlq-error": type(error).__name__,
            "dlq-message": str(error)[:500],
            "dlq-attempts": str(failures.attempts),
            "dlq-first-failure": repr(failures.first_at),
            "dlq-last-failure": repr(time.time()),
        }
        twin = Record(spec.topic.dead_letters.name, record.key, record.value, {**record.headers, **passport})
        await self._publish_for_sure(twin)
        log.warning("record parked", topic=record.topic, offset=record.offset, error=type(error).__name__)
        return "parked"

    async def _publish_for_sure(self, record: Record) -> None:
        while True:
            try:
                return await self._log.publish(record)
            except BusUnavailableError:
                metrics.LOG_UNAVAILABLE.labels("park").inc()
                await asyncio.sleep(AWAY_SECONDS)

    # -- offsets ------------------------------------------------------------------------------------------

    def _finish(self, record: Received, step: Step, outcome: str, spec: EventSpec[Any] | None = None) -> None:
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
            if lag:
                metrics.CONSUMER_LAG.labels(self._group).set(lag)
            else:
                # Nothing to move on to, or no telling: an empty poll is progress enough.
                metrics.CONSUMER_LAG.labels(self._group).set(0)
                self._moved_at = time.monotonic()

    # -- leaving ------------------------------------------------------------------------------------------

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        """Finish what is in hand of these partitions.

        What takes longer than the budget goes on if order does not matter to it, since its next owner can
        tell; ordered work is cancelled and will be redelivered.
        """
        mine = {task for task, (partition, _, _) in self._tasks.items() if partition in partitions}
        await self._wait(mine, self._drain_seconds)
        await self._cancel({task for task in mine if task in self._tasks and self._tasks[task][1]})
        if self._subscription is not None:
            await self._commit(self._subscription)
        for partition in partitions:
            self._progress.pop(partition, None)

    async def _drain(self, tasks: set["asyncio.Task[None]"], budget: float) -> None:
        for task in tasks:
            log.info("draining", work=task.get_name(), age=round(time.monotonic() - self._tasks[task][2], 3))
        await self._wait(tasks, budget)
        await self._cancel({task for task in tasks if not task.done()})

    @staticmethod
    async def _wait(tasks: set["asyncio.Task[None]"], budget: float) -> None:
        if tasks:
            await asyncio.wait(tasks, timeout=budget)

    @staticmethod
    async def _cancel(tasks: set["asyncio.Task[None]"]) -> None:
        for task in tasks:
            log.warning("cancelled after the drain budget", work=task.get_name())
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
