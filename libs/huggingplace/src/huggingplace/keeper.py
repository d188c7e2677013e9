"""Keeps what is logged: sampled, masked, written as JSON, and put where it waits for its delivery."""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from huggingplace import process_events
from huggingplace.counters import Counters
from huggingplace.errors import (
    ClosedError,
    ConfigurationError,
    MaskingError,
    PayloadTooLargeError,
    SpoolError,
    ValidationError,
)
from huggingplace.json_text import encode, plain
from huggingplace.options import Options
from huggingplace.outgoing import Outgoing
from huggingplace.spool import Spool
from huggingplace.teller import Teller
from huggingplace.transports.file_transport import FileTransport, StdoutTransport
from huggingplace.transports.http_transport import HttpTransport
from huggingplace.transports.transport import Transport
from huggingplace.unsent import Unsent
from huggingplace.version import VERSION

# Sampled out interactions whose scores are sampled out with them.
REMEMBERED_SAMPLES = 4096
# What stays of an item whose masking failed: nothing that anybody wrote.
_SAFE_FIELDS = {
    "id", "kind", "org_id", "mode", "timestamp", "status", "interaction_id", "prompt_tokens", "completion_tokens",
    "total_tokens", "cached_tokens", "response_time", "first_token_ms", "cost_usd", "duration_ms", "started_at",
}  # fmt: skip
MASKED = "[masking failed]"


class Keeper:
    """What a client is made of behind its methods. In a forked process it begins anew, set up as its parent was."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.counters = Counters()
        self.teller = Teller(options.on_error, self.counters)
        self._transport = _transport(options) if options.enabled else None
        self._sampled_out: OrderedDict[str, None] = OrderedDict()
        self._opening = threading.RLock()
        self._deferred: deque[Callable[[], None]] = deque()
        # By its owner: nothing is taken any more.
        self.is_closed = False
        self._pid = 0
        self._open()
        process_events.join(self)

    def keep(self, item: dict[str, Any], *, sample_by: str) -> None:
        """Keep one interaction, step or score for its delivery.

        Raises ValidationError: it cannot be written as JSON. Raises ClosedError. Whatever else goes wrong is told.
        """
        if self.is_closed:
            raise ClosedError("The client was closed.")
        if not self.options.enabled:
            return
        if self._pid != os.getpid():
            self._open_again()
        if self._is_sampled_out(item, sample_by):
            self.counters.add("sampled_out")
            return
        body = encode(item if self.options.mask is None else self._masked(item))
        self.counters.add("logged")
        if len(body) > self.options.max_item_bytes:
            self.counters.add("dropped")
            self.teller.tell(
                PayloadTooLargeError(f"{len(body)} bytes, of at most {self.options.max_item_bytes}", ids=(item["id"],))
            )
        elif self.unsent.append(body):
            self.outgoing.appended(len(body))

    def defer(self, act: Callable[[], None]) -> None:
        """Do it later, on another occasion: for what the garbage collector calls in the middle of anything."""
        self._deferred.append(act)

    def do_deferred(self) -> None:
        """Do what was deferred; `act` never raises."""
        with contextlib.suppress(IndexError):
            while True:
                self._deferred.popleft()()

    def flush(self, timeout: float) -> bool:
        """As `Outgoing.flush`."""
        self.do_deferred()
        return self.outgoing.flush(timeout) if self.options.enabled and self._pid == os.getpid() else True

    def close(self, timeout: float) -> bool:
        """Deliver what can be within `timeout` seconds, and give everything up; whether that was all."""
        self.do_deferred()
        process_events.leave(self)
        if not self.options.enabled or self._pid != os.getpid():
            return True
        is_all = self.outgoing.close(timeout)
        self._release()
        return is_all

    def snapshot(self) -> dict[str, int]:
        """What happened so far, in numbers, and what waits."""
        found = self.counters.snapshot()
        if self.options.enabled and self._pid == os.getpid():
            spool = self.unsent.spool
            found["waiting"] = self.unsent.unfinished
            found["memory_bytes"] = self.unsent.memory_bytes
            found["spool_bytes"] = spool.bytes if spool is not None else 0
            found["halted"] = int(self.outgoing.is_halted)
        return found

    def retire(self) -> None:
        """Nobody can log any more: end in the background. The garbage collector calls this, wherever that is."""
        if self.options.enabled and self._pid == os.getpid():
            self.outgoing.retire(lambda: self.close(0.0))

    def at_exit(self) -> None:
        """As `close`, when the process ends; what is logged after that goes to the spool."""
        self.close(self.options.exit_timeout)

    def after_fork(self) -> None:
        """Let go of what is the parent's: locks, thread, files and connections. What is logged next begins anew."""
        if not self.options.enabled or self._pid == os.getpid():
            return
        if self.unsent.spool is not None:
            self.unsent.spool.abandon()
        if self._transport is not None:
            self._transport.forget()
        self._opening = threading.RLock()
        self.counters = Counters()
        self.teller = Teller(self.options.on_error, self.counters)
        self._sampled_out.clear()
        self._deferred.clear()
        self._pid = 0

    def _open_again(self) -> None:
        if self._pid not in (0, os.getpid()):
            self.after_fork()  # a fork that called no hooks
        with self._opening:
            if self._pid == 0:
                self._open()

    def _open(self) -> None:
        if self._transport is None:
            return
        spool = self._spool()
        self.unsent = Unsent(
            spool, max_memory_bytes=self.options.max_memory_bytes, counters=self.counters, teller=self.teller
        )
        self.outgoing = Outgoing(self.unsent, self._transport, self.options, self.counters, self.teller)
        self.outgoing.chore = self.do_deferred
        self._pid = os.getpid()
        if self.unsent.adopt():
            self.outgoing.start()

    def _release(self) -> None:
        self.unsent.close()
        if self._transport is not None:
            self._transport.close()

    def _spool(self) -> Spool | None:
        if not self.options.spool:
            return None
        try:
            return Spool(self.options.spool_path, max_bytes=self.options.max_spool_bytes, fsync=self.options.fsync)
        except SpoolError as error:
            self.teller.tell(error)
            return None

    def _masked(self, item: dict[str, Any]) -> dict[str, Any]:
        """What the caller's hook makes of an item; it fails closed."""
        assert self.options.mask is not None  # noqa: S101 - for the type checker
        try:
            masked = self.options.mask(plain(item))
            if not isinstance(masked, dict) or masked.get("id") != item["id"]:
                raise MaskingError("mask must return the item, with its id.")
            return masked
        except ValidationError:
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's code
            self.counters.add("masking_failures")
            # Not its words: they may be those that were to be masked.
            self.teller.tell(MaskingError(f"mask failed with {type(error).__name__}; the texts were left out."))
        safe = {name: value for name, value in item.items() if name in _SAFE_FIELDS}
        hidden = "name" if item.get("kind") in ("step", "score") else "user_prompt"
        return {**safe, hidden: MASKED}

    def _is_sampled_out(self, item: dict[str, Any], sample_by: str) -> bool:
        rate = self.options.sample_rate
        if rate >= 1.0:
            return False
        if item.get("interaction_id") in self._sampled_out or zlib.crc32(sample_by.encode()) >= rate * 2**32:
            self._sampled_out[item["id"]] = None
            while len(self._sampled_out) > REMEMBERED_SAMPLES:
                self._sampled_out.popitem(last=False)
            return True
        return False


def _transport(options: Options) -> Transport:
    named = options.transport
    if isinstance(named, Transport):
        return named
    if named == "http":
        agent = f"huggingplace-python/{VERSION}"
        return HttpTransport(
            options.base_url, options.api_key, timeout=options.timeout, compress=options.compress, user_agent=agent
        )
    if named == "stdout":
        return StdoutTransport()
    kind, _, path = named.partition(":")
    if kind == "file" and path:
        return FileTransport(path)
    raise ConfigurationError(f"There is no transport {named!r}: name http, stdout or file:<path>, or give a Transport.")
