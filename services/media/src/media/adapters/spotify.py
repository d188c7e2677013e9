"""The port `SongCatalogue` on Spotify's Web API, with the credentials of an app and no user.

A token comes from `POST /api/token` with `grant_type=client_credentials` and holds for an hour. Tracks and artists are
read with it; genres are said of artists alone. Audio features are no longer given to new apps: what is refused there is
left out.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from common.events.songs import MAX_TEXT, MAX_WORDS, SongFacts
from common.failures import ProviderDown, Refused
from common.providers.policy import CallLimits, Policy, no_answer
from common.providers.provider_registry import ProviderRegistry
from common.providers.retry_after import retry_after
from media.song_ports import CataloguedSong

PROVIDER = "spotify"
LIMITS = CallLimits(connect_seconds=2.0, first_byte_seconds=5.0, total_seconds=15.0, concurrency=8)
MAX_ANSWER_BYTES = 2 * 1024 * 1024
# A token that is about to end is not used any more.
TOKEN_MARGIN_SECONDS = 30.0
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
ACCOUNT = frozenset({400, 401, 403})
MAX_QUOTED = 200


class SpotifyRefusal(Exception):
    """An answer that is no success, with what the provider says."""

    def __init__(self, status: int, message: str, wait: float | None, *, of_token: bool) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.wait = wait
        self.of_token = of_token


class Spotify:
    """One app. `name` is `sandbox` where the stand-in answers."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        urls: tuple[str, str],
        credentials: tuple[str, str],
        name: str,
        policy: Policy,
    ) -> None:
        self._session = session
        self._accounts_url, self._api_url = (url.rstrip("/") for url in urls)
        self._credentials = credentials
        self._policy = policy
        self._token = ""
        self._token_until = 0.0
        self._renewing = asyncio.Lock()
        self.name = name

    async def song(self, id: str) -> CataloguedSong:
        """As the port says."""
        track = await self._get(f"tracks/{quote(id, safe='')}")
        artists = [each for each in _list(track, "artists") if isinstance(each, dict)]
        genres = await self._genres(artists)
        features = await self._features(id)
        return _song(track, artists, genres, features)

    async def _genres(self, artists: list[dict[str, Any]]) -> list[str]:
        first = artists[0].get("id") if artists else None
        if not isinstance(first, str):
            return []
        return [str(each) for each in _list(await self._get(f"artists/{quote(first, safe='')}"), "genres")]

    async def _features(self, id: str) -> dict[str, Any]:
        """Tempo and key; nothing where the app is too new to be given them."""
        try:
            return await self._get(f"audio-features/{quote(id, safe='')}")
        except Refused as refused:
            if refused.details.get("provider_status") not in (403, 404):
                raise
            return {}

    async def _get(self, path: str) -> dict[str, Any]:
        budget = self._policy.begin()
        return await self._policy.read(budget, path.partition("/")[0], lambda: self._call(path))

    async def _call(self, path: str) -> dict[str, Any]:
        """One call; with a new token where the old one is not taken any more."""
        try:
            return await self._called(path, await self._valid_token())
        except SpotifyRefusal as refusal:
            if refusal.status != 401 or refusal.of_token:
                raise
            self._token = ""
        return await self._called(path, await self._valid_token())

    async def _called(self, path: str, token: str) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {token}"}
        async with self._session.get(f"{self._api_url}/{path}", headers=headers) as answer:
            return await _read(answer, of_token=False)

    async def _valid_token(self) -> str:
        async with self._renewing:
            if not self._token or time.monotonic() > self._token_until:
                begun = time.monotonic()
                body = await self._new_token()
                self._token = str(body["access_token"])
                self._token_until = begun + float(body.get("expires_in", 0)) - TOKEN_MARGIN_SECONDS
            return self._token

    async def _new_token(self) -> dict[str, Any]:
        headers = {"authorization": aiohttp.encode_basic_auth(*self._credentials)}
        form = {"grant_type": "client_credentials"}
        async with self._session.post(f"{self._accounts_url}/api/token", data=form, headers=headers) as answer:
            body = await _read(answer, of_token=True)
        if not isinstance(body.get("access_token"), str):
            raise ValueError("no token")
        return body


async def _read(answer: aiohttp.ClientResponse, *, of_token: bool) -> dict[str, Any]:
    raw = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        raw += chunk
        if len(raw) > MAX_ANSWER_BYTES:
            raise ValueError("too large")
    if answer.status != 200:
        raise SpotifyRefusal(answer.status, _said(bytes(raw)), retry_after(answer.headers), of_token=of_token)
    body = orjson.loads(raw)
    if not isinstance(body, dict):
        raise ValueError("no object")
    return body


def _said(raw: bytes) -> str:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ""
    error = body.get("error") if isinstance(body, dict) else None
    said = error.get("message") if isinstance(error, dict) else body.get("error_description") if error else ""
    return str(said or "")[:MAX_QUOTED]


def _song(
    track: dict[str, Any], artists: list[dict[str, Any]], genres: list[str], features: dict[str, Any]
) -> CataloguedSong:
    album = track.get("album") if isinstance(track.get("album"), dict) else {}
    released = str((album or {}).get("release_date") or "")[:4]
    seconds = track.get("duration_ms")
    facts = SongFacts(
        title=str(track.get("name") or "")[:MAX_TEXT],
        artist=", ".join(str(each.get("name") or "") for each in artists)[:MAX_TEXT],
        album=str((album or {}).get("name") or "")[:MAX_TEXT],
        genres=tuple(each[:100] for each in genres if each)[:MAX_WORDS],
        year=int(released) if released.isdigit() and 1000 <= int(released) < 3000 else None,
        **_heard(features),
    )
    return CataloguedSong(facts, seconds / 1000 if isinstance(seconds, int | float) else None)


def _heard(features: dict[str, Any]) -> dict[str, Any]:
    """Tempo and key as Spotify has them: pitch classes from 0, -1 for none; mode 1 is major."""
    found = dict[str, Any]()
    tempo, key, mode = features.get("tempo"), features.get("key"), features.get("mode")
    if isinstance(tempo, int | float) and 0 < tempo <= 1000:
        found["tempo"] = float(tempo)
    if isinstance(key, int) and 0 <= key < 12:
        found["key"] = PITCHES[key]
        found["mode"] = "minor" if mode == 0 else "major"
    return found


def _list(body: dict[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    return found if isinstance(found, list) else []


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error means; `details` hold the provider's status."""
    if isinstance(error, SpotifyRefusal):
        return _verdict(error)
    if isinstance(error, aiohttp.ClientError | OSError | ValueError | KeyError):
        return no_answer(error)
    return None


def _verdict(refusal: SpotifyRefusal) -> Refused | ProviderDown:
    status, details = refusal.status, {"provider_status": refusal.status}
    if status == 404 or (status == 400 and not refusal.of_token):
        return Refused(404, "Spotify has no such track.", "spotify_not_found", "spotify_id", details=details)
    if status in ACCOUNT:
        message = f"Spotify does not accept our account: {refusal.message or status}."
        return Refused(502, message, "provider_refused_us", type="api_error", details=details)
    return ProviderDown(f"Spotify failed with status {status}.", status=status, retry_after=refusal.wait)


@asynccontextmanager
async def open_spotify(
    urls: tuple[str, str], credentials: tuple[str, str], sandbox_url: str | None, registry: ProviderRegistry
) -> AsyncIterator[Spotify]:
    """Spotify by the credentials of an app; without them the sandbox, or nobody."""
    name, configured = PROVIDER, all(credentials)
    if not configured and sandbox_url:
        name, configured, credentials = "sandbox", True, ("sandbox", "sandbox")
        urls = (f"{sandbox_url}/spotify/accounts", f"{sandbox_url}/spotify/v1")
    policy = Policy(PROVIDER, verdict, configured=configured, limits=LIMITS, registry=registry)
    timeout = aiohttp.ClientTimeout(
        total=LIMITS.total_seconds, sock_connect=LIMITS.connect_seconds, sock_read=LIMITS.first_byte_seconds
    )
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Spotify(session, urls=urls, credentials=credentials, name=name, policy=policy)
