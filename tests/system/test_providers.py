"""Providers: how they are doing, over HTTP and on the command line."""

from typing import Any

import httpx

from tests.support.clients import new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually


def listed(sonant: Sonant, key: dict[str, str]) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{sonant.url}/v1/providers", headers=key)
    assert answer.status_code == 200, answer.text
    assert answer.json()["unreachable"] == []
    return {each["name"]: each for each in answer.json()["data"]}


async def test_a_provider_is_known_to_be_well_once_it_was_called(sonant: Sonant) -> None:
    key = new_key(sonant, scopes=["resources", "media"]).headers
    assert listed(sonant, key)["hume"]["account"] == "shared"
    made = httpx.get(f"{sonant.url}/api/hume/auth", headers={**key, "x-user-id": "user-1"})
    assert made.status_code == 200, made.text

    async def healthy() -> bool:
        return listed(sonant, key)["hume"]["healthy"] is True

    await eventually(healthy)
    found = listed(sonant, key)["hume"]
    assert (found["configured"], found["breaker"], found["sunset"]) == (True, "closed", "2026-11-13")
    assert found["latency_p50_seconds"] > 0


def test_the_scope_media_is_asked_for(sonant: Sonant) -> None:
    key = new_key(sonant, scopes=["chat"]).headers
    assert httpx.get(f"{sonant.url}/v1/providers", headers=key).status_code == 403
