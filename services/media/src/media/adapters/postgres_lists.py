"""PostgreSQL: lists in pages that go both ways, and the files of vector stores that stand in them."""

import json
from typing import Any

from common.storage.postgres import Pool, transient
from media.retrieval_ports import ListedFile, ListPage


async def read_page(pool: Pool, page: ListPage, statement: str, *given: Any) -> tuple[list[Any], bool]:
    """The rows of a page in their order, and whether there are more.

    The statement takes what is `given`, then the id above which and the id below which its rows are, then how many.
    Where it says DIRECTION stands ASC or DESC.
    """
    # What stands before something is read from there on, away from it, and turned around.
    backwards = page.before is not None and page.after is None
    direction = "ASC" if page.ascending != backwards else "DESC"
    between = (page.after, page.before) if page.ascending else (page.before, page.after)
    async with transient():
        rows = await pool.fetch(statement.replace("DIRECTION", direction), *given, *between, page.limit + 1)
    shown = rows[: page.limit]
    return shown[::-1] if backwards else shown, len(rows) > page.limit


def listed_file(row: Any) -> ListedFile:
    """A file as a row has it, with its metadata and its error in JSON."""
    metadata, error = json.loads(row["metadata"] or "{}"), json.loads(row["error"] or "null")
    return ListedFile(row["asset_id"], row["state"], metadata, error, row["characters"], row["created_at"])
