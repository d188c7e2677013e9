"""The way out: one thread takes what waits in batches, gives them to the transport, and decides what failed means."""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence

from huggingplace import refused_file
from huggingplace.counters import Counters
from huggingplace.errors import AuthenticationError, DeliveryError, RefusedError, ServerError, SpoolError
from huggingplace.options import Options
from huggingplace.retry_delay import backoff
from huggingplace.spool_segment import Record
from huggingplace.teller import Teller
from huggingplace.transports.transport import Batch, Transport, Verdicts
from huggingplace.unsent import Unsent

# How often an idle thread looks for what processes that are gone have left.
ADOPT_SECONDS = 30.0
# A key that was refused is tried again this seldom: it may have been a mistake at the server.
REFUSED_KEY_SECONDS = 300.0
# How often the spool is synced to the disk while the server takes nothing.
TEND_SECONDS = 1.0


class Outgoing:
    """Delivers what is unsent. `flush` and `close` return in time whatever the transport does: they wait, no more."""

    def __init__(
        self, unsent: Unsent, transport: Transport, options: Options, counters: Counters, teller: Teller
    ) -> None:
        self._unsent = unsent
        self._transport = transport
        self._options = options
        self._counters = counters
        self._teller = teller
        # What the thread does now and then beside its work.
        self.chore: Callable[[], None] | None = None
        # Of all that wakes a thread, this alone may be used by a handler of a signal that interrupts its use.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        # Taken, and to be sent once more; they go first.
        self._again: list[Record] = []
        # Appended since the last batch was taken, about: what makes a batch full.
        self._fresh_items = 0
        self._fresh_bytes = 0
        self._waiting_since: float | None = None
        self._is_idle = True
        # The last batch was full: more waits, and fills the next one.
        self._is_more = False
        # A flush waits until so many are finished.
        self._wanted = 0
        self._failures = 0
        self._rest_until = 0.0
        # Whoever is in a hurry may cut a rest of our own short once, but not one that the server asked for.
        self._is_told_to_rest = False
        self._is_nudged = False
        self._is_halted = False
        self._closing_at: float | None = None
        self._retired: Callable[[], object] | None = None
        self._adopt_at = 0.0
        self._tend_at = 0.0

    def appended(self, size: int) -> None:
        """So many bytes were added to what is unsent, as one record."""
        self._fresh_items += 1
        self._fresh_bytes += size
        if self._thread is None:
            self.start()
        elif (self._is_idle or self._is_batch_full) and self._wake.empty():
            self._wake.put(None)

    def start(self) -> None:
        """Start the thread; where the interpreter is ending there is none any more, and the spool keeps what waits."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="huggingplace", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread = None

    def flush(self, timeout: float) -> bool:
        """Whether all that waited at the call was delivered, or refused for good, within `timeout` seconds.

        False at once where sending has stopped because of the key, and from the thread that sends.
        """
        if self._thread is threading.current_thread():
            return False
        if self._unsent.unfinished > 0:
            self.start()
        with self._changed:
            target = self._unsent.appended
            self._wanted = max(self._wanted, target)
            self._is_nudged = True
            self._wake.put(None)
            self._changed.wait_for(lambda: self._is_through(target) or self._is_stuck, timeout)
            return self._is_through(target)

    def close(self, timeout: float) -> bool:
        """End the thread, after it delivered what it could within `timeout` seconds; whether that was all."""
        with self._changed:
            self._closing_at = time.monotonic() + timeout
            self._is_nudged = True
            # Workers that ended before us may have left something.
            self._adopt_at = 0.0
            self._wake.put(None)
            if self._thread is not threading.current_thread():
                self._changed.wait_for(lambda: self._thread is None, timeout)
        return self._unsent.unfinished <= 0

    def retire(self, then: Callable[[], object]) -> None:
        """As `close`, for whoever waits for nothing and takes no lock: `then` is called by the thread at its end."""
        self._retired = then
        self._closing_at = time.monotonic() + ADOPT_SECONDS + self._options.exit_timeout
        if self._thread is None:
            then()

    @property
    def is_halted(self) -> bool:
        """Whether the key was refused, and sending has stopped."""
        return self._is_halted

    @property
    def _is_batch_full(self) -> bool:
        return self._fresh_items >= self._options.batch_items or self._fresh_bytes >= self._options.batch_bytes

    @property
    def _is_stuck(self) -> bool:
        return self._is_halted or self._thread is None

    @property
    def _is_hurried(self) -> bool:
        return self._closing_at is not None or self._unsent.finished < self._wanted

    @property
    def _is_resting(self) -> bool:
        if self._rest_until <= time.monotonic():
            return False
        return not self._is_nudged or self._is_told_to_rest

    def _is_through(self, target: int) -> bool:
        return self._unsent.unfinished <= 0 or (self._unsent.finished >= target and not self._again)

    def _run(self) -> None:
        try:
            while not self._is_over():
                self._await_batch()
                self._tend()
                if not self._is_resting:
                    self._send_next()
        finally:
            with self._changed:
                self._thread = None
                self._changed.notify_all()
            if self._retired is not None:
                self._retired()

    def _is_over(self) -> bool:
        """Closing, and nothing more can be done in the time that is left."""
        if self._closing_at is None:
            return False
        if self._adopt_at > 0 and not self._unsent.waits:
            return True
        if self._is_halted or time.monotonic() >= self._closing_at:
            return True
        if not self._failures or (self._is_nudged and not self._is_told_to_rest):
            return False
        # What is in the spool is safe, and is not waited for; what is in memory is tried for as long as there is time.
        return self._unsent.memory_bytes == 0 or self._rest_until >= self._closing_at

    def _await_batch(self) -> None:
        """Wait until a batch is due: full, old enough, asked for, or to be tried again."""
        while True:
            self._is_idle = True
            seconds = self._due_in()
            if seconds <= 0 or (self._closing_at is not None and self._is_over()):
                break
            waits = self._unsent.waits
            self._is_idle = not waits
            self._sleep(min(seconds, TEND_SECONDS) if waits else seconds)
            self._tend()
        self._is_idle = False

    def _sleep(self, seconds: float) -> None:
        """Wait that long, or until woken."""
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=seconds)
            while not self._wake.empty():
                self._wake.get_nowait()

    def _due_in(self) -> float:
        """Seconds until the next batch goes out; at most until processes that are gone are looked for."""
        now = time.monotonic()
        if self._is_resting:
            return self._rest_until - now
        if not self._again and not self._unsent.waits:
            self._waiting_since = None
            return 0.0 if self._closing_at is not None else ADOPT_SECONDS
        if self._again or self._is_hurried or self._is_more or self._is_batch_full or self._unsent.unfinished <= 0:
            return 0.0  # the last of these: what processes that are gone have left has waited long enough
        if self._waiting_since is None:
            self._waiting_since = now
        return self._waiting_since + self._options.flush_interval - now

    def _tend(self) -> None:
        now = time.monotonic()
        if now >= self._adopt_at:
            self._adopt_at = now + ADOPT_SECONDS
            self._unsent.adopt()
        if now >= self._tend_at:
            self._tend_at = now + TEND_SECONDS
            # What is delivered at once needs no disk.
            self._unsent.tend(sync=self._failures > 0)
            if self.chore is not None:
                self.chore()

    def _send_next(self) -> None:
        self._is_nudged = False
        if self._again:
            self._counters.add("retries", len(self._again))
        else:
            self._take()
        records = self._again
        if records:
            self._counters.add("batches")
            self._settle(records, self._sent(Batch(tuple(record.body for record in records))))

    def _take(self) -> None:
        """The next batch; it counts as one to be sent again until it is settled."""
        self._fresh_items = self._fresh_bytes = 0
        self._waiting_since = None
        self._again = self._unsent.take(self._options.batch_items, self._options.batch_bytes)
        size = sum(len(record.body) for record in self._again)
        if not self._again and self._unsent.waits:
            # The disk did not give it back; it may do so later.
            self._rest_until = time.monotonic() + TEND_SECONDS
        self._is_more = len(self._again) >= self._options.batch_items or size > self._options.batch_bytes // 2

    def _sent(self, batch: Batch) -> Verdicts:
        try:
            verdicts = self._transport.send(batch)
        except DeliveryError as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - a transport may be the caller's, and its faults lose nothing
            return [ServerError(f"The transport failed: {type(error).__name__}: {error}")] * len(batch)
        if verdicts is None:
            return [None] * len(batch)
        if len(verdicts) != len(batch):
            return [ServerError(f"The transport gave {len(verdicts)} verdicts for {len(batch)} items.")] * len(batch)
        return verdicts

    def _settle(self, records: Sequence[Record], verdicts: Verdicts) -> None:
        done: list[Record] = []
        again: list[Record] = []
        told: list[DeliveryError] = []
        for record, verdict in zip(records, verdicts):
            if verdict is None:
                done.append(record)
            elif isinstance(verdict, RefusedError):
                done.append(record)
                self._keep_refused(record, verdict)
            else:
                again.append(record)
            if verdict is not None and verdict not in told:
                told.append(verdict)
        self._note_outcome([error for error in told if error.retried])
        self._again = again
        self._count(done, sum(isinstance(verdict, RefusedError) for verdict in verdicts))
        # Not under the lock of those who wait: a handler of a signal may hold what this one needs.
        self._unsent.finish(done)
        with self._changed:
            self._changed.notify_all()
        for error in told:
            self._teller.tell(error)

    def _count(self, done: Sequence[Record], refused: int) -> None:
        """A batch is of this process, or of one that is gone."""
        if done and done[0].is_adopted:
            self._counters.add("replayed", len(done))
        else:
            self._counters.add("delivered", len(done) - refused)
            self._counters.add("refused", refused)

    def _keep_refused(self, record: Record, refusal: RefusedError) -> None:
        if self._unsent.spool is None:
            return
        try:
            refused_file.keep(self._unsent.spool.directory, record.body, refusal)
        except OSError as error:
            self._teller.tell(SpoolError(f"What was refused cannot be kept: {error}"))

    def _note_outcome(self, failures: Sequence[DeliveryError]) -> None:
        """When to go on: at once where nothing failed, and else after a rest."""
        self._is_halted = any(isinstance(error, AuthenticationError) for error in failures)
        asked = [error.retry_after for error in failures if error.retry_after is not None]
        self._is_told_to_rest = self._is_halted or bool(asked)
        if not failures:
            self._failures, self._rest_until = 0, 0.0
            return
        self._counters.add("failures")
        if self._is_halted:
            rest = REFUSED_KEY_SECONDS
        elif asked:
            # Not all at once, when it is over.
            rest = max(asked) + random.uniform(0.0, 0.1 + max(asked) / 10)
        else:
            rest = backoff(self._failures)
        self._failures += 1
        self._rest_until = time.monotonic() + rest
