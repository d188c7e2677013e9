"""Signals: small messages to every instance, on one shared stream, declared as `SignalSpec`s beside the events."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from pydantic import ValidationError

from common.bus.metrics import LIVE_UNREADABLE
from common.events.spec import P, SignalSpec
from common.storage.resp import Command

log = structlog.get_logger(__name__)

SIGNALS = "sonant:live:signals"
SIGNAL_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class SignalHandler:
    """What a process does about one signal; made by `on_signal`, which checks that both fit."""

    spec: SignalSpec[Any]
    act: Callable[[Any], None]


SignalHandlers = Iterable[SignalHandler]


def on_signal(spec: SignalSpec[P], act: Callable[[P], None]) -> SignalHandler:
    """`act` is called with the payload of every such signal."""
    return SignalHandler(spec, act)


def signal_command(spec: SignalSpec[P], payload: P) -> Command:
    """The command that sends a signal to every instance."""
    content = payload.model_dump(mode="json", exclude_none=True)
    return ("XADD", SIGNALS, "MAXLEN", "~", SIGNAL_ENTRIES, "*", "s", orjson.dumps({"kind": spec.kind, **content}))


class Signals:
    """Hands signals to their handlers; those that nobody here handles are not even decoded."""

    def __init__(self, handlers: SignalHandlers) -> None:
        self._handlers = {handler.spec.kind: handler for handler in handlers}

    def take(self, message: bytes) -> None:
        """One message of the signal stream."""
        if not self._handlers:
            return
        try:
            content = orjson.loads(message)
            handler = self._handlers.get(content["kind"])
            payload = None if handler is None else handler.spec.payload.model_validate(content)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
            # From a newer release, or a stranger: the other signals must go on.
            LIVE_UNREADABLE.inc()
            log.warning("signal not understood", error=type(error).__name__)
            return
        if handler is not None:
            handler.act(payload)
