"""A client whose items end in a list."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from huggingplace import Batch, HuggingPlace, HuggingPlaceError, Transport

Items = list[dict[str, Any]]


class Listing(Transport):
    """Keeps what it is given."""

    name = "listing"

    def __init__(self) -> None:
        self.items: Items = []

    def send(self, batch: Batch) -> None:
        self.items += batch.items


@pytest.fixture
def told() -> list[HuggingPlaceError]:
    return []


@pytest.fixture
def listing() -> Listing:
    return Listing()


@pytest.fixture
def make(listing: Listing, tmp_path: Path, told: list[HuggingPlaceError]) -> Iterator[Callable[..., HuggingPlace]]:
    with ExitStack() as stack:

        def make(**settings: Any) -> HuggingPlace:
            given = {"org_id": "acme", "transport": listing, "spool_dir": tmp_path, "on_error": told.append}
            client = HuggingPlace(**{**given, **settings})
            stack.callback(client.close, 1.0)
            return client

        yield make


@pytest.fixture
def client(make: Callable[..., HuggingPlace]) -> HuggingPlace:
    return make()


@pytest.fixture
def delivered(client: HuggingPlace, listing: Listing) -> Callable[[], Items]:
    def delivered() -> Items:
        assert client.flush(5)
        return listing.items

    return delivered
