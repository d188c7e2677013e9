"""Tells what is not raised: to the caller's `on_error`, or to the log."""

from __future__ import annotations

import logging
import threading
import time

from huggingplace.counters import Counters
from huggingplace.errors import HuggingPlaceError
from huggingplace.options import OnError

logger = logging.getLogger("huggingplace")
LOG_EVERY_SECONDS = 60.0


class Teller:
    """Safe over threads. Never raises, and never calls a callback from inside itself."""

    def __init__(self, on_error: OnError | None, counters: Counters) -> None:
        self._on_error = on_error
        self._counters = counters
        self._inside = threading.local()
        self._logged_at: dict[str, float] = {}
        self.last: HuggingPlaceError | None = None

    def tell(self, error: HuggingPlaceError) -> None:
        self.last = error
        if self._on_error is None:
            self._log(error)
            return
        if getattr(self._inside, "here", False):
            return
        self._inside.here = True
        try:
            self._on_error(error)
        except Exception:
            self._counters.add("callback_failures")
            logger.warning("on_error failed", exc_info=True)
        finally:
            self._inside.here = False

    def _log(self, error: HuggingPlaceError) -> None:
        kind, now = type(error).__name__, time.monotonic()
        if now - self._logged_at.get(kind, float("-inf")) >= LOG_EVERY_SECONDS:
            self._logged_at[kind] = now
            logger.warning("%s: %s", kind, error)
