"""The engines that are given by URL: whether each can be reached and lets us in. Nothing is written."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

SINGLE_SERVER = "expected is the address of a single server, which may be one that follows a failover"
# Seconds for one engine, and for one connection of it.
ENGINE_SECONDS = 8.0
DIAL_SECONDS = 3.0
OLDEST_POSTGRES = 15
DEFAULT_PORTS = {"kafka": 9092, "kafka+ssl": 9092, "redis": 6379, "rediss": 6379, "postgresql": 5432, "postgres": 5432}


@dataclass(frozen=True)
class Finding:
    """A line about one engine. `lasting`: it answered, so that waiting will not help."""

    text: str
    lasting: bool


class _RefusedError(Exception):
    """The engine answered, and cannot be used as it is."""


class _NotYetError(Exception):
    """Somebody answered, but not as the engine: it may be starting."""


async def findings(environ: Mapping[str, str]) -> list[Finding]:
    """What is wrong with the engines that the environment names; the others are started by ourselves."""
    looks: dict[str, Callable[[str], Awaitable[None]]] = {
        "SONANT_LOG_URL": partial(_log, environ),
        "SONANT_REDIS_URL": _redis,
        "SONANT_DATABASE_URL": _database,
    }
    asked = [_look(name, url, look) for name, look in looks.items() if (url := environ.get(name))]
    return [finding for finding in await asyncio.gather(*asked) if finding is not None]


async def _look(name: str, url: str, look: Callable[[str], Awaitable[None]]) -> Finding | None:
    try:
        async with asyncio.timeout(ENGINE_SECONDS):
            if away := await _away(url):
                return Finding(f"{name}: {away}", lasting=False)
            await look(url)
    except (_RefusedError, _NotYetError) as error:
        return Finding(f"{name}: {_one_line(error)}", lasting=isinstance(error, _RefusedError))
    except TimeoutError:
        return Finding(f"{name}: no answer in {ENGINE_SECONDS:g} s", lasting=False)
    return None


async def _away(url: str) -> str:
    """Why none of the URL's hosts takes a connection; empty where one does, or where it names none."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return await _dial(asyncio.open_unix_connection(parts.path), parts.path)
    troubles = []
    for address in filter(None, parts.netloc.rpartition("@")[2].split(",")):
        place = urlsplit(f"//{address}")
        host, port = place.hostname or "127.0.0.1", place.port or DEFAULT_PORTS[parts.scheme]
        trouble = await _dial(asyncio.open_connection(host, port), f"{host}:{port}")
        if not trouble:
            return ""
        troubles.append(trouble)
    return "; ".join(troubles)


async def _dial(connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], place: str) -> str:
    try:
        _, writer = await asyncio.wait_for(connecting, DIAL_SECONDS)
    except TimeoutError:
        return f"{place} does not answer in {DIAL_SECONDS:g} s"
    except socket.gaierror:
        return f"{place}: no host of this name is known"
    except OSError as error:
        # The loop's own text names the place again.
        return f"{place} does not answer: {os.strerror(error.errno).lower() if error.errno else error}"
    writer.close()
    return ""


async def _log(environ: Mapping[str, str], url: str) -> None:
    from common.bus.kafka_url import completed_from, is_kafka

    await (_kafka(completed_from(url, environ)) if is_kafka(url) else _redis(url))


async def _kafka(url: str) -> None:
    from common.bus.connect import open_log_at
    from common.bus.port import BusUnavailableError, LogRefusedError

    async with open_log_at(url) as log:
        try:
            await log.ping()
        except LogRefusedError as error:
            raise _RefusedError(str(error).removeprefix("the log ")) from error
        except BusUnavailableError as error:
            raise _NotYetError("answers, but does not speak Kafka to us (kafka+ssl:// is for TLS)") from error


async def _redis(url: str) -> None:
    from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

    from common.storage.redis import cluster_kind, open_redis

    async with open_redis(url, connections=1) as redis:
        try:
            await redis.ping()
            if kind := await cluster_kind(redis):
                raise _RefusedError(f"is a Redis {kind.capitalize()}; {SINGLE_SERVER}")
        except BusyLoadingError as error:
            raise _NotYetError(f"is not ready: {error}") from error
        except (AuthenticationError, ResponseError) as error:
            raise _RefusedError(f"refuses us: {error}") from error
        except (RedisError, OSError) as error:
            raise _NotYetError(f"does not answer as Redis: {error}") from error


async def _database(url: str) -> None:
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=DIAL_SECONDS)
    except (asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError) as error:
        raise _NotYetError(f"is not ready: {error}") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise _RefusedError(f"refuses us: {error}") from error
    except TimeoutError:
        raise
    except (OSError, asyncpg.InternalClientError) as error:
        raise _NotYetError(f"does not answer as PostgreSQL: {error}") from error
    try:
        version = int(await connection.fetchval("SHOW server_version_num")) // 10_000
        vector = await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
    finally:
        await connection.close()
    if version < OLDEST_POSTGRES:
        raise _RefusedError(f"is PostgreSQL {version}; expected is {OLDEST_POSTGRES} or newer")
    if not vector:
        raise _RefusedError("has no pgvector; install the extension `vector` on the server")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
