"""API keys on a real database: issued, checked, revoked, rotated; with the database away too."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from pogo_core.util import migrate
from redis.asyncio import Redis

from common.failures import Refused, StoreUnavailableError
from common.storage.postgres import Pool, migrate_schema, open_postgres
from common.storage.redis import open_redis
from gateway.adapters.postgres_keys import PostgresKeys
from gateway.adapters.redis_idempotency import PREFIX, RedisIdempotency
from gateway.deps import DEPS
from gateway.http import boundary
from gateway.http.docs_page import docs_routes
from gateway.http.idempotency import Idempotency
from gateway.http.openapi import document
from gateway.http.routing import add_routes
from gateway.http.server import Runner
from gateway.keys import known_keys
from gateway.keys.first_admin import ensure_admin
from gateway.keys.keyring import Keys
from gateway.keys.routes import ROUTES
from gateway.ports import KeyLimits, KeyRecord
from sonant_cli.engines import postgres
from tests.support.engines import new_database, running
from tests.support.waiting import eventually

MIGRATIONS = Path(__file__).resolve().parents[3] / "services/gateway/migrations"
CHAT = frozenset({"chat"})


class Counting(PostgresKeys):
    """The real store, counting what it is asked; `held` holds answers back once they were read."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.asked = 0
        self.held = asyncio.Event()
        self.held.set()

    async def get(self, key_id: str) -> KeyRecord | None:
        self.asked += 1
        record = await super().get(key_id)
        await self.held.wait()
        return record


class Fleet:
    """Several processes' worth of `Keys` on one database; an announcement reaches them all."""

    def __init__(self, pool: Pool) -> None:
        self.stores = [Counting(pool), Counting(pool)]
        self.members = [Keys(store, self.announce) for store in self.stores]

    async def announce(self, key_id: str) -> None:
        for member in self.members:
            member.evict(key_id)


@asynccontextmanager
async def pool_on(url: str) -> AsyncIterator[Pool]:
    async with open_postgres(url, size=4, migrations=MIGRATIONS, schema="gateway") as pool:
        yield pool


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    async with pool_on(postgres_url) as opened:
        yield opened


@pytest.fixture
def fleet(pool: Pool) -> Fleet:
    return Fleet(pool)


async def refusal(check: Coroutine[Any, Any, Any]) -> Refused:
    with pytest.raises(Refused) as refused:
        await check
    return refused.value


async def test_a_key_opens_with_its_rights_and_its_text_is_nowhere_in_the_database(fleet: Fleet, pool: Pool) -> None:
    limits = KeyLimits(requests_per_minute=5, concurrent_streams=2)
    issued = await fleet.members[0].create("app", "acme", CHAT, limits)
    caller = await fleet.members[1].authenticate(issued.key)
    assert (caller.org_id, caller.key_id, caller.scopes, caller.limits) == ("acme", issued.record.id, CHAT, limits)
    secret = issued.key.split("-", 3)[3]
    rows = await pool.fetch("SELECT k::text AS text FROM gateway.api_keys AS k")
    assert rows
    assert not [row for row in rows if secret in row["text"]]


@pytest.mark.parametrize(
    "key", ["", "sk-other", "sk-sonant-" + "x" * 12 + "-" + "y" * 43, "é" * 60, "\x00", "x" * 9999]
)
async def test_what_is_no_key_of_ours_is_refused_alike(fleet: Fleet, key: str) -> None:
    error = await refusal(fleet.members[0].authenticate(key))
    assert (error.status, error.code, error.message) == (401, "invalid_api_key", "Incorrect API key provided.")


async def test_the_right_id_with_another_secret_is_refused(fleet: Fleet) -> None:
    issued = await fleet.members[0].create("app", "acme", CHAT)
    wrong = issued.key[:-1] + ("A" if issued.key[-1] != "A" else "B")
    assert (await refusal(fleet.members[0].authenticate(wrong))).status == 401


async def test_known_and_unknown_keys_are_asked_about_once_however_many_come(fleet: Fleet) -> None:
    keys, store = fleet.members[0], fleet.stores[0]
    issued = await keys.create("app", "acme", CHAT)
    await asyncio.gather(*(keys.authenticate(issued.key) for _ in range(100)))
    assert store.asked == 1
    unknown = "sk-sonant-" + "u" * 12 + "-" + "y" * 43
    refusals = await asyncio.gather(*(refusal(keys.authenticate(unknown)) for _ in range(100)))
    assert {error.status for error in refusals} == {401}
    assert store.asked == 2


async def test_one_who_leaves_does_not_end_the_lookup_for_the_others(fleet: Fleet) -> None:
    keys, store = fleet.members[0], fleet.stores[0]
    issued = await keys.create("app", "acme", CHAT)
    store.held.clear()
    first, second = (asyncio.create_task(keys.authenticate(issued.key)) for _ in range(2))
    await eventually(lambda: store.asked)
    first.cancel()
    store.held.set()
    assert (await second).key_id == issued.record.id
    assert store.asked == 1


async def test_a_revoked_key_ends_at_once_in_every_process(fleet: Fleet) -> None:
    issued = await fleet.members[0].create("app", "acme", CHAT)
    for keys in fleet.members:
        await keys.authenticate(issued.key)
    revoked = await fleet.members[0].revoke(issued.record.id, "acme")
    assert revoked.revoked_at is not None
    for keys in fleet.members:
        assert (await refusal(keys.authenticate(issued.key))).message == "This API key was revoked."
    again = await fleet.members[1].revoke(issued.record.id)
    assert again.revoked_at == revoked.revoked_at


async def test_a_lookup_overtaken_by_a_revocation_is_not_kept(fleet: Fleet) -> None:
    # The lookup read the key before it was revoked and answers after the eviction.
    keys, store = fleet.members[0], fleet.stores[0]
    issued = await keys.create("app", "acme", CHAT)
    store.held.clear()
    early = asyncio.create_task(keys.authenticate(issued.key))
    await eventually(lambda: store.asked)
    await asyncio.sleep(0.05)
    await fleet.members[1].revoke(issued.record.id)
    store.held.set()
    await asyncio.gather(early, return_exceptions=True)
    assert (await refusal(keys.authenticate(issued.key))).status == 401


async def test_an_expired_key_is_refused(fleet: Fleet) -> None:
    issued = await fleet.members[0].create("app", "acme", CHAT, expires_in=0.05)
    await fleet.members[0].authenticate(issued.key)

    async def expired() -> bool:
        await asyncio.sleep(0)
        return not issued.record.live(datetime.now(UTC))

    check: Callable[[], bool | Awaitable[bool]] = expired
    await eventually(check)
    assert (await refusal(fleet.members[0].authenticate(issued.key))).message == "This API key has expired."


async def test_rotation_keeps_rights_and_lifetime_and_the_old_key_for_the_overlap(fleet: Fleet) -> None:
    keys = fleet.members[0]
    limits = KeyLimits(tokens_per_minute=9)
    old = await keys.create("app", "acme", CHAT, limits, expires_in=86_400)
    new = await keys.rotate(old.record.id, 3600, "acme")
    assert (new.record.name, new.record.scopes, new.record.limits) == ("app", CHAT, limits)
    assert new.record.expires_at == new.record.created_at + timedelta(days=1)
    for key in (old.key, new.key):
        await keys.authenticate(key)
    ends = (await keys.list("acme", 100))[0]
    [retired] = [record.expires_at for record in ends if record.id == old.record.id]
    assert retired == new.record.created_at + timedelta(hours=1)
    assert (await refusal(keys.rotate(old.record.id, 0))).status == 409


async def test_rotation_without_overlap_ends_the_old_key_everywhere(fleet: Fleet) -> None:
    old = await fleet.members[0].create("app", "acme", CHAT)
    await fleet.members[1].authenticate(old.key)
    new = await fleet.members[0].rotate(old.record.id, 0)
    assert (await refusal(fleet.members[1].authenticate(old.key))).status == 401
    assert new.record.expires_at is None
    await fleet.members[1].authenticate(new.key)


async def test_a_key_is_rotated_once_by_however_many_try(fleet: Fleet) -> None:
    old = await fleet.members[0].create("app", "acme", CHAT)
    outcomes = await asyncio.gather(
        *(member.rotate(old.record.id, 60) for member in fleet.members * 3), return_exceptions=True
    )
    assert sorted(outcome.status for outcome in outcomes if isinstance(outcome, Refused)) == [409] * 5


async def test_foreign_keys_are_as_if_they_were_not_there(fleet: Fleet) -> None:
    keys = fleet.members[0]
    issued = await keys.create("app", "acme", CHAT)
    for attempt in (keys.revoke(issued.record.id, "other"), keys.rotate(issued.record.id, 0, "other")):
        assert (await refusal(attempt)).code == "key_not_found"
    assert (await refusal(keys.list("other", 10, issued.record.id))).param == "after"
    await keys.authenticate(issued.key)


async def test_pages_hold_every_key_once_newest_first(fleet: Fleet) -> None:
    keys = fleet.members[0]
    made = [(await keys.create(str(number), "pages", CHAT)).record.id for number in range(5)]
    found: list[str] = []
    more, after = True, None
    while more:
        page, more = await keys.list("pages", 2, after)
        found += [record.id for record in page]
        after = found[-1]
    assert found == made[::-1]


async def test_last_use_is_written_down(fleet: Fleet) -> None:
    keys = fleet.members[0]
    issued = await keys.create("app", "used", CHAT)
    await keys.authenticate(issued.key)
    await keys.close()
    [record], _ = await keys.list("used", 1)
    assert record.last_used_at is not None


async def test_with_the_database_away_known_keys_work_and_others_get_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_keys, "FRESH_SECONDS", 0.0)
    async with running(postgres) as engine, pool_on(engine.url) as pool:
        keys = Fleet(pool).members[0]
        known, other = [await keys.create(name, "acme", CHAT) for name in ("known", "other")]
        await keys.authenticate(known.key)
        await engine.stop()
        assert (await keys.authenticate(known.key)).key_id == known.record.id
        error = await refusal(keys.authenticate(other.key))
        assert (error.status, error.headers["retry-after"]) == (503, "1")
        await keys.flush()
        monkeypatch.setattr(known_keys, "STALE_SECONDS", 0.0)
        monkeypatch.setattr(known_keys, "AWAY_SECONDS", 0.0)
        keys._known._known[known.record.id].fresh_until = 0.0
        assert (await refusal(keys.authenticate(known.key))).status == 503
        await engine.start()
        for issued in (known, other):
            await keys.authenticate(issued.key)
        await keys.close()


@dataclass(frozen=True)
class Operated:
    """A database under an account of its own, and the operator, who does things to both."""

    url: str
    name: str
    operator: "asyncpg.Connection[Any]"

    async def undergo(self, statements: Sequence[str]) -> None:
        """Have the operator act; whoever is connected has to connect again."""
        for statement in statements:
            await self.operator.execute(statement.format(name=self.name))
        await self.operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture
async def operated(postgres_url: str) -> AsyncIterator[Operated]:
    async with new_database(postgres_url, "gateway") as url:
        address = urlsplit(url)
        name = address.path[1:]
        operator = await asyncpg.connect(url)
        await operator.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        await operator.execute(f"ALTER DATABASE {name} OWNER TO {name}")
        own = address._replace(netloc=f"{name}:right@{address.hostname}:{address.port}")
        try:
            yield Operated(own.geturl(), name, operator)
        finally:
            await operator.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            await operator.execute(f"DROP ROLE {name}")
            await operator.close()


READ_ONLY = (
    ["ALTER DATABASE {name} SET default_transaction_read_only = on"],
    ["SET default_transaction_read_only = off", "ALTER DATABASE {name} RESET default_transaction_read_only"],
)
# What may be done to a server that answers all the same, and how it ends.
STATES = {
    "read-only": READ_ONLY,
    "another password": (["ALTER ROLE {name} PASSWORD 'left'"], ["ALTER ROLE {name} PASSWORD 'right'"]),
    "no login": (["ALTER ROLE {name} NOLOGIN"], ["ALTER ROLE {name} LOGIN"]),
    "statements given up": (
        ["ALTER DATABASE {name} SET statement_timeout = 50", "BEGIN", "LOCK TABLE gateway.api_keys"],
        ["ROLLBACK", "ALTER DATABASE {name} RESET statement_timeout"],
    ),
}


@pytest.mark.parametrize("state", STATES)
async def test_a_database_that_answers_and_is_of_no_use_is_as_good_as_away(
    operated: Operated, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(known_keys, "FRESH_SECONDS", 0.0)
    begun, ended = STATES[state]
    async with pool_on(operated.url) as pool:
        keys = Fleet(pool).members[0]
        issued = await keys.create("app", "acme", CHAT)
        await keys.authenticate(issued.key)
        await operated.undergo(begun)
        assert (await keys.authenticate(issued.key)).key_id == issued.record.id
        await keys.flush()
        with pytest.raises(StoreUnavailableError):
            await keys.create("other", "acme", CHAT)
        await operated.undergo(ended)

        async def written() -> bool:
            await keys.flush()
            with suppress(StoreUnavailableError):
                return (await keys.list("acme", 1))[0][0].last_used_at is not None
            return False

        check: Callable[[], bool | Awaitable[bool]] = written
        await eventually(check)


async def test_a_start_on_a_read_only_database_waits_until_it_is_written_to(operated: Operated) -> None:
    begun, ended = READ_ONLY
    await operated.undergo(begun)
    async with AsyncExitStack() as stack:
        opening = asyncio.create_task(stack.enter_async_context(pool_on(operated.url)))
        assert not (await asyncio.wait({opening}, timeout=1.0))[0]
        await operated.undergo(ended)
        assert await (await opening).fetchval("SELECT count(*) FROM gateway.api_keys") == 0


async def test_the_first_admin_key_is_made_once_and_again_when_its_file_is_lost(
    tmp_path: Path, pool: Pool, fleet: Fleet
) -> None:
    await pool.execute("DELETE FROM gateway.api_keys WHERE org_id = 'default'")
    keys, store, file = fleet.members[0], fleet.stores[0], tmp_path / "data" / "admin-key"
    await ensure_admin(store, file)
    first = file.read_text().strip()
    caller = await keys.authenticate(first)
    assert (caller.org_id, "admin" in caller.scopes) == ("default", True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["admin-key"]
    await ensure_admin(store, file)
    assert file.read_text().strip() == first
    file.unlink()
    await ensure_admin(store, file)
    second = file.read_text().strip()
    assert second != first
    for key in (first, second):
        await keys.authenticate(key)
        await keys.revoke(key.split("-")[2])
    await ensure_admin(store, file)
    await keys.authenticate(file.read_text().strip())


async def test_processes_that_start_together_make_one_admin_key(tmp_path: Path, operated: Operated) -> None:
    file = tmp_path / "admin-key"
    async with pool_on(operated.url) as pool:
        await asyncio.gather(*(ensure_admin(store, file) for store in Fleet(pool).stores * 2))
        [only], _ = await Fleet(pool).members[0].list(None, 10)
        assert only.id == file.read_text().split("-")[2]


async def test_migrations_go_back_and_forth(postgres_url: str) -> None:
    await migrate_schema(postgres_url, MIGRATIONS, "gateway")
    connection = await asyncpg.connect(postgres_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await migrate.rollback(connection, MIGRATIONS, schema_name="gateway")
        assert await connection.fetchval("SELECT to_regclass('gateway.api_keys')") is None
        await migrate.apply(connection, MIGRATIONS, schema_name="gateway")
        assert await connection.fetchval("SELECT to_regclass('gateway.api_keys')") is not None
        await transaction.rollback()
    finally:
        await connection.close()


@asynccontextmanager
async def served(fleet: Fleet, redis: Redis) -> AsyncIterator[web.AppRunner]:
    """The admin routes and the documents, on a port of 127.0.0.1."""
    app = web.Application()
    boundary.install(app)
    idempotency = Idempotency(RedisIdempotency(redis))
    app[DEPS] = cast("Any", SimpleNamespace(keys=fleet.members[0], idempotency=idempotency))
    add_routes(app, ROUTES, fleet.members[0].identify)
    app.add_routes(docs_routes(document(ROUTES), b"{}"))
    runner = Runner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner
    finally:
        await runner.cleanup()


class Client:
    """Speaks to the admin routes with one key and checks the shape of every error."""

    def __init__(self, session: aiohttp.ClientSession, key: str) -> None:
        self._session = session
        self._headers = {"authorization": f"Bearer {key}"}

    async def __call__(self, method: str, path: str = "", once: str | None = None, **request: Any) -> tuple[int, Any]:
        headers = {**self._headers, **({"idempotency-key": once} if once else {})}
        async with self._session.request(method, f"/v1/admin/keys{path}", headers=headers, **request) as answer:
            body = await answer.json()
        if answer.status >= 400:
            assert set(body["error"]) == {"message", "type", "param", "code"}
            return answer.status, body["error"]
        return answer.status, body


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    async with open_redis(valkey_url) as opened:
        yield opened


@pytest.fixture
async def http(fleet: Fleet, redis: Redis) -> AsyncIterator[aiohttp.ClientSession]:
    async with served(fleet, redis) as runner:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session


async def client_of(http: aiohttp.ClientSession, fleet: Fleet, org_id: str, *scopes: str) -> Client:
    return Client(http, (await fleet.members[0].create("test", org_id, frozenset(scopes))).key)


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

        check: Callable[[], bool | Awaitable[bool]] = busy
        await eventually(check)
        asking.cancel()
        await asyncio.wait({asking})

    async def made() -> bool:
        status, error = await impatient("POST", once="k", json={"name": "app"})
        assert status == 409
        return bool(error["code"] == "already_created")

    check = made
    await eventually(check)
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
