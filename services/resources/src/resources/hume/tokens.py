"""Short-lived access tokens of the voice provider: fetched once for all who ask, and again before they end."""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from common.failures import ProviderDown, Refused
from common.kernel.single_flight import SingleFlight
from resources.ports import Token, TokenSource

# A token handed out is good for at least this long, so that a chat can begin with it.
EARLY_SECONDS = 120.0
# While no other can be had, one that ends soon is better than none; this much is needed to use it at all.
LAST_SECONDS = 10.0
# Who could have that one waits no longer than this for another.
PATIENCE_SECONDS = 1.0


class Tokens:
    """The current token; however many ask, one request at a time is made for another."""

    def __init__(self, source: TokenSource, *, clock: Callable[[], float] = time.time) -> None:
        self.provider = source.provider
        self._source = source
        self._clock = clock
        self._token: Token | None = None
        self._flights: SingleFlight[Literal["token"], Token] = SingleFlight("fetch")

    async def get(self) -> Token:
        """A token that is good for a while. Raises `Refused` (502, 503) and `ProviderDown`."""
        token, now = self._token, self._clock()
        if token is None or now > token.expires_at - LAST_SECONDS:
            return await self._flights.run("token", self._fetch)
        return token if now < _renew_at(token) else await self._renewed(token)

    async def _renewed(self, token: Token) -> Token:
        """Another token, or the current one where that takes long; the request for another goes on."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._flights.run("token", self._fetch)
        except (Refused, ProviderDown, TimeoutError):
            return token

    async def _fetch(self) -> Token:
        self._token = await self._source.fetch()
        return self._token

    async def close(self) -> None:
        """End a request under way."""
        await self._flights.close()


def _renew_at(token: Token) -> float:
    """When another one is wanted, in unix seconds; half-way for a token of a short life."""
    return token.expires_at - min(EARLY_SECONDS, (token.expires_at - token.issued_at) / 2)
