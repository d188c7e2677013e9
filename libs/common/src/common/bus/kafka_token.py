"""Tokens for brokers that take OAUTHBEARER: from a token endpoint (RFC 6749, section 4.4), or from a file."""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka.abc import AbstractTokenProvider

from common.bus.kafka_access import TokenError
from common.bus.kafka_url import KafkaUrl

FETCH_SECONDS = 5.0
# A token is replaced this long before its end: it has to hold while the login is under way.
MARGIN_SECONDS = 30.0
# Of a token whose endpoint does not say how long it holds.
DEFAULT_LIFE_SECONDS = 300.0


class FileToken(AbstractTokenProvider):
    """What a file holds, read at each login: whoever rotates tokens (as Kubernetes does) writes it."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def token(self) -> str:
        """Raises TokenError."""
        try:
            return (await asyncio.to_thread(self._path.read_text)).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"token_file {self._path} cannot be read: {error}") from error


class ClientToken(AbstractTokenProvider):
    """What a token endpoint gives for the id and secret of a client; one token serves until it nears its end."""

    def __init__(self, url: str, client_id: str, secret: str, scope: str) -> None:
        self._url = url
        self._headers = {"Authorization": aiohttp.encode_basic_auth(client_id, secret)}
        self._form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Raises TokenError."""
        async with self._lock:
            if time.monotonic() >= self._until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        try:
            answer = await self._fetch()
            life = float(answer.get("expires_in", DEFAULT_LIFE_SECONDS))
            self._token = str(answer["access_token"])
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TokenError(f"the token endpoint does not answer: {error or type(error).__name__}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TokenError("the token endpoint does not answer as RFC 6749 has it") from error
        self._until = time.monotonic() + life - MARGIN_SECONDS

    async def _fetch(self) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            async with session.post(self._url, data=self._form, allow_redirects=False) as response:
                if response.status != 200:
                    raise TokenError(f"the token endpoint refuses us with status {response.status}")
                answer: dict[str, Any] = await response.json(content_type=None)
                return answer


def token_provider(url: KafkaUrl) -> AbstractTokenProvider:
    """As the URL says, which has one of the two."""
    if file := url.options.get("token_file"):
        return FileToken(file)
    return ClientToken(url.options["token_url"], url.username, url.password, url.options.get("token_scope", ""))
