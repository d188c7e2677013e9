"""What can go wrong, sorted by what to do about it: the one taxonomy of Sonant.

A handler or use case raises one of these and the kernel decides by the type alone, never by the text. Anything else
that is raised is a bug: it is counted, logged with its trace, and tried again a few times.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Retry(Exception):
    """Transient: the same record may work in a moment."""


class Unavailable(Retry):
    """Something we need does not answer: the log, the database, the cache."""


class StoreUnavailableError(Unavailable):
    """The database behind a port does not answer; the same call may work in a moment."""


class Park(Exception):
    """Can never work: park the record as a dead letter and go on."""


class Halt(Exception):
    """I am broken: take nothing in for a while, before more harm is done, and try this record again."""


class StoreForbiddenError(StoreUnavailableError, Halt):
    """The database answers, and does not let this service do its work: whatever record is next fares no better."""


@dataclass(eq=False)
class Refused(Exception):
    """The request cannot be served as it is: the caller is told why, in the one error shape, with `status`.

    It travels: raised where a request is handled, it is raised again where the reply is awaited.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"
    # What else the caller should know, beside the four members: who uses a version, the provider's status.
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> "Refused":
        """A refusal as it was written: `body` is that of `body`."""
        error = dict(body["error"])
        own = {name: error.pop(name, None) for name in ("message", "code", "param", "type")}
        return cls(status, **own, details=error, headers=headers or {})

    def body(self) -> dict[str, Any]:
        """`{"error": {"message", "type", "param", "code", ...}}`, the details before the four members."""
        own = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": {**self.details, **own}}


class ProviderDown(Unavailable):
    """A provider did not answer, or failed; nothing is known about what it did.

    `status` is what it answered, None for no answer; `retry_after` is in seconds, None where it did not say.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
