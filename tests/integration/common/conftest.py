"""A client for addresses that callers name, and whom it meets."""

from collections.abc import AsyncIterator

import pytest

from common.providers.guarded_http import GuardedHttp, open_guarded_http
from tests.support.peers import RULES, Names, peer

__all__ = ["peer"]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def http(names: Names) -> AsyncIterator[GuardedHttp]:
    async with open_guarded_http(RULES, resolver=names) as http:
        yield http
