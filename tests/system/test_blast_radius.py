"""One caller harms only itself, and a service that takes nothing in is said to be away at once."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.clients import new_key
from tests.support.sonant import Sonant, sonant_system, suspended
from tests.support.waiting import eventually

TOOLS = "/api/hume/tools"
PATTERNS = ["a{99999999999999}", "(" * 5000 + ")" * 5000]
# Past the looks after which a silent service counts as gone.
SILENT_SECONDS = 40.0


@pytest.fixture(scope="module")
def system() -> Iterator[Sonant]:
    """A system of its own, to be broken."""
    with sonant_system() as started:
        yield started


@pytest.fixture
def client(system: Sonant) -> Iterator[httpx.Client]:
    key = new_key(system, scopes=["chat", "resources"])
    with httpx.Client(base_url=system.url, headers={**key.headers, "x-user-id": "u"}, timeout=30) as client:
        yield client


def a_tool(name: str, pattern: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"city": {"type": "string", "pattern": pattern}}}
    return {"name": name, "parameters": schema}


def test_schemas_that_cannot_be_checked_are_refused_and_halt_nothing(system: Sonant, client: httpx.Client) -> None:
    """More in a row than once tripped the brake of the whole service."""
    for number in range(24):
        refused = client.post(TOOLS, json=a_tool(f"t{number}", PATTERNS[number % 2]))
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "parameters")
    assert client.post(TOOLS, json=a_tool("good", "[a-z]+")).status_code == 201
    assert system.ready("resources")


async def test_a_service_that_takes_nothing_in_is_told_at_once_and_only_its_routes_suffer(
    system: Sonant, client: httpx.Client
) -> None:
    with suspended(system.pid("resources")):

        def told() -> bool:
            services = system.ops("gateway", "/readyz").json().get("services", {})
            return any("silent" in why for name, why in services.items() if name.startswith("resources/"))

        await eventually(told, timeout=SILENT_SECONDS, interval=0.5)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert ready.json()["services"] == {"resources": "does not work right now"}
        began = time.monotonic()
        refused = client.get(TOOLS)
        assert time.monotonic() - began < 1.0
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        answered = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
        assert answered.status_code == 200

    def served() -> bool:
        return client.get(TOOLS).status_code == 200

    await eventually(served, timeout=SILENT_SECONDS, interval=0.5)
    assert "services" not in client.get("/readyz").json()
