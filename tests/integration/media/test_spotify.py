"""Spotify's Web API as its adapter meets it: tokens that end, limits, failures, and apps that get no audio features."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from common.failures import ProviderDown, Refused
from common.providers.provider_registry import ProviderRegistry
from media.adapters.spotify import Spotify, open_spotify
from sandbox.app import serve

TRACK = "4uLU6hMCjMI75M1A2tKUQC"
UNAVAILABLE = {"do": "status-503", "times": None, "path": "tracks"}


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with serve() as url:
        yield url


@asynccontextmanager
async def spotify(url: str, client: str = "app") -> AsyncIterator[Spotify]:
    urls = (f"{url}/spotify/accounts", f"{url}/spotify/v1")
    async with open_spotify(urls, (client, "secret"), None, ProviderRegistry()) as opened:
        yield opened


async def arrange(url: str, client: str, *faults: dict[str, Any], **order: Any) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.put(f"{url}/sandbox/spotify/{client}", json={"faults": faults, **order}) as answer:
            assert answer.status == 200, await answer.text()


async def calls(url: str, client: str) -> dict[str, int]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/sandbox/spotify/{client}") as answer:
        made: dict[str, int] = (await answer.json())["calls"]
    return made


async def test_a_track_has_what_spotify_says_and_one_token_serves_many_calls(url: str) -> None:
    async with spotify(url, "one-token") as catalogue:
        first, second = await catalogue.song(TRACK), await catalogue.song(TRACK)
    assert first == second
    facts = first.facts
    assert all((facts.title, facts.artist, facts.album, facts.genres, facts.year, facts.tempo, facts.key, facts.mode))
    assert first.seconds is not None
    assert first.seconds >= 120
    assert await calls(url, "one-token") == {"token": 1, "tracks": 2, "artists": 2, "audio-features": 2}


async def test_a_token_that_is_not_taken_any_more_is_replaced(url: str) -> None:
    async with spotify(url, "ends") as catalogue:
        await catalogue.song(TRACK)
        # All tokens of the app are forgotten there.
        await arrange(url, "ends")
        await catalogue.song(TRACK)
    assert (await calls(url, "ends"))["token"] == 2


async def test_a_new_app_gets_no_audio_features(url: str) -> None:
    async with spotify(url, "new-app") as catalogue:
        found = await catalogue.song(TRACK)
    assert found.facts.title
    assert (found.facts.tempo, found.facts.key) == (None, None)


async def test_what_passes_is_tried_again_and_what_stays_is_said(url: str) -> None:
    async with spotify(url, "tried") as catalogue:
        await arrange(url, "tried", {"do": "status-429-ra-0", "path": "tracks"})
        await catalogue.song(TRACK)
        for fault in ("reset", "html-502", "null"):
            await arrange(url, "tried", {"do": fault, "path": "tracks"})
            await catalogue.song(TRACK)
        await arrange(url, "tried", UNAVAILABLE)
        with pytest.raises(ProviderDown):
            await catalogue.song(TRACK)


async def test_refusals_say_whose_fault_it_is(url: str) -> None:
    async with spotify(url, "refused") as catalogue:
        with pytest.raises(Refused) as missing:
            await catalogue.song("Missing" + "0" * 15)
        assert (missing.value.status, missing.value.code) == (404, "spotify_not_found")
    async with spotify(url, "spotify-invalid") as catalogue:
        with pytest.raises(Refused) as account:
            await catalogue.song(TRACK)
        assert account.value.code == "provider_refused_us"
    async with open_spotify((url, url), ("", ""), None, ProviderRegistry()) as nobody:
        with pytest.raises(Refused) as unconfigured:
            await nobody.song(TRACK)
        assert unconfigured.value.code == "provider_unconfigured"
