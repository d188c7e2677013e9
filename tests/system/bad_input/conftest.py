"""Bad input gets a clear 4xx in the one error shape, changes nothing, and leaves a gateway that still answers."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.bad_input import ANSWER_SECONDS, Stage, staged
from tests.support.sonant import Sonant


@pytest.fixture(scope="session")
def stage(sonant: Sonant) -> Iterator[Stage]:
    """The shared system, with an organisation of its own to be abused."""
    with httpx.Client(base_url=sonant.url, timeout=ANSWER_SECONDS) as client:
        yield staged(sonant, client)
