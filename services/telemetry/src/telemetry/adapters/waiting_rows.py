"""Rows that wait for their write: in parts of bounded size, and what cannot be held found among the others."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import asyncpg

# A turn takes a few kilobytes; one record of the log may hold 8 MiB, of which 500 are no statement any more.
BYTES_PER_WRITE = 4 * 1024 * 1024

# What PostgreSQL says when a value, and not the server, is at fault: out of range, missing, too long to index.
UNSTORABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)


@dataclass(slots=True)
class WaitingRow:
    """A turn as JSON on its way into a table, and why the database refused it, if it did."""

    json: bytes
    refusal: str | None = None


async def insert_storable(
    rows: Sequence[WaitingRow], insert: Callable[[Sequence[WaitingRow]], Awaitable[None]]
) -> None:
    """Write all rows but those that cannot be held, which get their refusal: halves find them in few steps."""
    try:
        await insert(rows)
    except UNSTORABLE as error:
        if len(rows) == 1:
            rows[0].refusal = str(error)
            return
        middle = len(rows) // 2
        await insert_storable(rows[:middle], insert)
        await insert_storable(rows[middle:], insert)


def in_parts(rows: Sequence[WaitingRow]) -> Iterator[Sequence[WaitingRow]]:
    """The rows in their order, in parts of at most `BYTES_PER_WRITE`, or of one row."""
    start = size = 0
    for at, row in enumerate(rows):
        if at > start and size + len(row.json) > BYTES_PER_WRITE:
            yield rows[start:at]
            start, size = at, 0
        size += len(row.json)
    yield rows[start:]
