"""Interactions in system tests: how they are sent, and what of them is stored."""

import asyncio
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.support.clients import Key, new_key
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

SINGLE = "/v2/chatgpt/store_generated_response"
BATCH = "/v2/interactions:batch"
STORED_SECONDS = 30.0


def ingest_key(sonant: Sonant, organization: str | None = None, **fields: Any) -> Key:
    """A key that may report interactions, and read them."""
    return new_key(sonant, organization, **{"scopes": ["ingest", "admin"], **fields})


def new_id(at: float | None = None) -> str:
    """A UUID of version 7, as a client makes it."""
    milliseconds = round((time.time() if at is None else at) * 1000)
    value = milliseconds << 80 | 0x7 << 76 | (int.from_bytes(os.urandom(10)) & ((1 << 76) - 1))
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


def interaction(number: int = 0, **fields: Any) -> dict[str, Any]:
    """An item as a client sends it; a higher number is later."""
    texts = {"user_prompt": f"question {number}", "ai_response": f"answer {number}"}
    return {"id": new_id(time.time() + number / 1000), **texts, **fields}


async def rows(sonant: Sonant, query: str, *values: Any) -> list[dict[str, Any]]:
    """What the database says now."""
    connection = await asyncpg.connect(sonant.urls()["database"], timeout=5)
    try:
        return [dict(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


async def stored(sonant: Sonant, key: Key, count: int, timeout: float = STORED_SECONDS) -> list[dict[str, Any]]:
    """The interactions of an organisation, as soon as there are so many."""

    async def enough() -> list[dict[str, Any]]:
        try:
            found = await rows(
                sonant,
                "SELECT * FROM telemetry.chat JOIN telemetry.prompt_details USING (keep, day, org_id, mode, id)"
                " WHERE org_id = $1 ORDER BY at, id",
                key.organization,
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return []
        return found if len(found) >= count else []

    if not count:
        return []
    found: list[dict[str, Any]] = await eventually(enough, timeout=timeout)
    return found


async def fates(http: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    """What became of a batch, once nothing of it is under way."""

    async def settled() -> dict[str, Any]:
        answer = await http.get(f"/v2/ingest/{batch_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found if not found["pending"] else {}

    told: dict[str, Any] = await eventually(settled, timeout=STORED_SECONDS)
    return told


async def curl(*arguments: str) -> str:
    """What `curl` prints."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    return output.decode()


async def command(sonant: Sonant, *arguments: str) -> str:
    """What a command of `sonant` prints."""
    env = {**os.environ, "SONANT_DATA_DIR": str(sonant.data_dir), "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "sonant"),
        *arguments,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    return output.decode()
