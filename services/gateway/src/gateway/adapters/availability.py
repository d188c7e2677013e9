"""How an engine that is away looks to use cases: one error, whatever its client raises."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.failures import StoreUnavailableError


@contextmanager
def needing(engine: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise StoreUnavailableError instead of any of `errors`, which the engine's client raises while it is away."""
    try:
        yield
    except errors as error:
        raise StoreUnavailableError(f"{engine} does not answer: {error}") from error
