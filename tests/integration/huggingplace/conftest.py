"""A server that misbehaves on request, and clients for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from huggingplace import HuggingPlace, HuggingPlaceError
from tests.support.ingest_server import KEY, IngestServer, ingest_server

MakeClient = Callable[..., HuggingPlace]


@pytest.fixture
def server() -> Iterator[IngestServer]:
    with ingest_server() as running:
        yield running


@pytest.fixture
def told() -> list[HuggingPlaceError]:
    """What clients of `make_client` told `on_error`."""
    return []


@pytest.fixture
def make_client(server: IngestServer, tmp_path: Path, told: list[HuggingPlaceError]) -> Iterator[MakeClient]:
    """Makes clients of the server, with one spool for all; they are closed at the end."""
    with ExitStack() as stack:

        def make(**settings: Any) -> HuggingPlace:
            defaults = {
                "api_key": KEY,
                "org_id": "acme",
                "base_url": server.url,
                "spool_dir": tmp_path / "spool",
                "flush_interval": 0.05,
                "on_error": told.append,
            }
            client = HuggingPlace(**{**defaults, **settings})
            stack.callback(client.close, 0.2)
            return client

        yield make
