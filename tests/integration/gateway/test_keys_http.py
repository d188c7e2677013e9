"""The admin routes and the documents over HTTP."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from common.storage.postgres import Pool
from gateway.adapters.redis_idempotency import PREFIX
from tests.support.keys import CHAT, Client, Fleet, client_of, refusal, served
from tests.support.waiting import eventually


@pytest.fixture
async def http(fleet: Fleet, redis: Redis) -> AsyncIterator[aiohttp.ClientSession]:
    async with served(fleet, redis) as runner:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session


async def test_an_admin_manages_keys_over_http(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    admin_of = await client_of(http, fleet, "http-org", "admin")
    limits = {"requests_per_minute": 5, "tokens_per_minute": None, "concurrent_streams": None}
    wanted = {"name": "böt", "organization": "http-org", "scopes": ["chat"], "limits": limits, "expires_in": 60}
    status, made = await admin_of("POST", json=wanted)
    assert status == 201
    assert {name: made[name] for name in ("name", "organization", "scopes", "limits")} == {
        name: wanted[name] for name in ("name", "organization", "scopes", "limits")
    }
    assert made["expires_at"] - made["created_at"] == 60
    assert (await fleet.members[1].authenticate(made["key"])).org_id == "http-org"
    status, page = await admin_of("GET", params={"limit": 1})
    assert (status, page["data"][0]["id"], page["has_more"]) == (200, made["id"], True)
    assert "key" not in page["data"][0]
    status, rotated = await admin_of("POST", f"/{made['id']}/rotate", json={"overlap": 0})
    assert (status, rotated["limits"]) == (201, limits)
    status, revoked = await admin_of("DELETE", f"/{rotated['id']}")
    assert status == 200
    assert revoked["revoked_at"]
    for key in (made["key"], rotated["key"]):
        assert (await refusal(fleet.members[1].authenticate(key))).status == 401


async def test_the_command_lists_more_keys_than_a_page_has(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    keys = fleet.members[0]
    made = [(await keys.create(str(number), "many", CHAT)).record.id for number in range(101)]
    reader = (await keys.create("reader", "default", frozenset({"admin"}))).key
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from sonant_cli.main import main; main()"),
        *("keys", "list", "--json", "--org", "many", "--url", str(http._base_url), "--key", reader),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert [key["id"] for key in json.loads(output)] == made[::-1]


async def test_a_repeated_request_makes_no_second_key_and_is_told_of_the_first(
    http: aiohttp.ClientSession, fleet: Fleet, redis: Redis
) -> None:
    admin_of = await client_of(http, fleet, "once", "admin")
    wanted = {"name": "app"}
    status, made = await admin_of("POST", once="create-1", json=wanted)
    assert status == 201
    status, error = await admin_of("POST", once="create-1", json=wanted)
    assert (status, error["code"]) == (409, "already_created")
    assert made["id"] in error["message"]
    assert (await admin_of("POST", once="create-1", json={"name": "other"}))[0] == 422
    status, rotated = await admin_of("POST", f"/{made['id']}/rotate", once="rotate-1", json={})
    assert status == 201
    status, error = await admin_of("POST", f"/{made['id']}/rotate", once="rotate-1", json={})
    assert (status, error["code"]) == (409, "already_created")
    assert rotated["id"] in error["message"]
    names = [key["name"] for key in (await admin_of("GET"))[1]["data"]]
    assert names == ["app", "app", "test"]
    kept = [str(await redis.get(name)) async for name in redis.scan_iter(f"{PREFIX}*")]
    assert any(made["id"] in text for text in kept)
    assert not [text for text in kept if "sk-sonant-" in text]
    # What was refused may be tried again.
    assert (await admin_of("POST", "/abcdefghijkl/rotate", once="rotate-2", json={}))[0] == 404
    assert (await admin_of("POST", "/abcdefghijkl/rotate", once="rotate-2", json={}))[0] == 404


async def test_a_caller_who_does_not_wait_finds_the_key_it_made(
    http: aiohttp.ClientSession, fleet: Fleet, pool: Pool
) -> None:
    impatient = await client_of(http, fleet, "impatient", "admin")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE gateway.organizations")
        asking = asyncio.create_task(impatient("POST", once="k", json={"name": "app"}))

        async def busy() -> bool:
            waiting = "SELECT FROM pg_locks WHERE relation = 'gateway.organizations'::regclass AND NOT granted"
            return bool(await connection.fetch(waiting))

        await eventually(busy)
        asking.cancel()
        await asyncio.wait({asking})

    async def made() -> bool:
        status, error = await impatient("POST", once="k", json={"name": "app"})
        assert status == 409
        return bool(error["code"] == "already_created")

    await eventually(made)
    assert [key["name"] for key in (await impatient("GET"))[1]["data"]] == ["app", "test"]


async def test_only_admins_enter_and_only_their_own_organisation(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    victim = (await fleet.members[0].create("victim", "victims", CHAT)).record.id
    plain = await client_of(http, fleet, "victims", "chat", "media")
    assert (await plain("GET"))[1]["code"] == "insufficient_scope"
    nobody = Client(http, "sk-wrong")
    assert (await nobody("GET"))[0] == 401
    stranger = await client_of(http, fleet, "strangers", "admin")
    assert (await stranger("DELETE", f"/{victim}"))[0] == 404
    assert (await stranger("POST", f"/{victim}/rotate", json={}))[0] == 404
    assert (await stranger("POST", json={"name": "x", "organization": "victims"}))[0] == 403
    assert (await stranger("GET", params={"organization": "victims"}))[0] == 403
    assert (await stranger("GET", params={"after": victim}))[0] == 404
    _, page = await stranger("GET")
    assert {key["organization"] for key in page["data"]} == {"strangers"}
    operator = await client_of(http, fleet, "default", "admin")
    _, page = await operator("GET", params={"organization": "victims", "limit": 1000})
    assert victim in [key["id"] for key in page["data"]]
    assert (await operator("DELETE", f"/{victim}"))[0] == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes.0"),
        ({"name": "x", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"name": "x", "limits": {"tokens_per_minute": True}}, "limits.tokens_per_minute"),
        ({"name": "x", "limits": {"tokens_per_minute": 2**40}}, "limits.tokens_per_minute"),
        ({"name": "x", "organization": "../etc"}, "organization"),
        ({"name": "x", "expires_in": 10**30}, "expires_in"),
        ({"name": "x", "surprise": 1}, "surprise"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_made(
    http: aiohttp.ClientSession, fleet: Fleet, body: dict[str, Any], param: str
) -> None:
    strict = await client_of(http, fleet, "strict", "admin")
    _, before = await strict("GET")
    status, error = await strict("POST", json=body)
    assert (status, error["param"]) == (400, param)
    assert (await strict("GET"))[1]["data"] == before["data"]


@pytest.mark.parametrize("path", ["/%00", "/x", "/" + "y" * 5000, "/%F0%9F%92%A3", "/'%20or%201"])
async def test_odd_ids_are_not_found(http: aiohttp.ClientSession, fleet: Fleet, path: str) -> None:
    odd = await client_of(http, fleet, "odd", "admin")
    assert (await odd("DELETE", path))[0] == 404


async def test_a_key_comes_as_bearer_or_as_x_api_key(http: aiohttp.ClientSession, fleet: Fleet) -> None:
    key = (await fleet.members[0].create("both", "acme", frozenset({"admin"}))).key
    for headers in ({"authorization": f"bearer {key}"}, {"x-api-key": key}):
        async with http.get("/v1/admin/keys", headers=headers) as answer:
            assert answer.status == 200
    async with http.get("/v1/admin/keys") as answer:
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_documents_and_their_page_are_served_without_a_key(http: aiohttp.ClientSession) -> None:
    async with http.get("/docs") as answer:
        page = await answer.text()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in page
    assert "https://" not in page
    for path in [*re.findall(r'(?:src|href)="([^"]+)"', page), "docs/openapi.json", "asyncapi.json"]:
        async with http.get(f"/{path}") as answer:
            assert answer.status == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert await answer.read()
