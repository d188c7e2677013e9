"""What goes wrong, as types: misuse is raised, and what happens on the way out is told to `on_error`."""

from __future__ import annotations

from collections.abc import Sequence


class HuggingPlaceError(Exception):
    """Base of everything that this package raises or tells."""


class ConfigurationError(HuggingPlaceError, ValueError):
    """The client cannot work as it was set up: a key is missing, a setting is out of range. Raised."""


class ValidationError(HuggingPlaceError, ValueError):
    """An argument has the wrong type or value; `param` names it. Raised where you call, and only told elsewhere."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ClosedError(HuggingPlaceError, RuntimeError):
    """The client was closed, and is used again. Raised."""


class MaskingError(HuggingPlaceError):
    """Your masking hook failed; the texts of that interaction were replaced. Told."""


class QueueFullError(HuggingPlaceError):
    """Neither the spool nor the memory had room, and an interaction was dropped. Told."""


class SpoolError(HuggingPlaceError):
    """The spool's directory cannot be used; what is logged waits in memory alone. Told."""


class DeliveryError(HuggingPlaceError):
    """Base of what a transport may raise from `send`. Told; `ids` are those of the interactions it is about.

    `retried` says whether they stay in the spool and are sent again, `retry_after` after how many seconds the server
    wants that, None where it does not say.
    """

    retried = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        ids: Sequence[str] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.ids: tuple[str, ...] = tuple(ids)
        self.retry_after = retry_after


class NetworkError(DeliveryError):
    """There was no answer: no name, no connection, a broken one."""


class NetworkTimeoutError(NetworkError):
    """There was no answer in time."""


class ServerError(DeliveryError):
    """The server could not take it now, or answered what makes no sense."""


class RateLimitError(DeliveryError):
    """The server takes no more for now (429)."""


class AuthenticationError(DeliveryError):
    """The key is not valid (401). Sending stops, and what is logged stays in the spool."""


class PermissionDeniedError(AuthenticationError):
    """The key is another organisation's, or may not write interactions (403). Sending stops as for 401."""


class RefusedError(DeliveryError):
    """The server will never take these; they are kept in the file of refused ones."""

    retried = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        ids: Sequence[str] = (),
        code: str | None = None,
    ) -> None:
        super().__init__(message, status=status, ids=ids)
        self.code = code


class PayloadTooLargeError(RefusedError):
    """One interaction is larger than what is taken (`max_item_bytes`, or 413 of the server)."""
