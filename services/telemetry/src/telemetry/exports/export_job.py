"""The job that writes interactions to a file: read in small pages, converted elsewhere, kept as an object."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from common.events.interaction_exports import EXPORT_FILES, EXPORT_KIND, ExportInput, ExportResult
from common.failures import Refused, StoreUnavailableError
from common.jobs.job_spec import DAY_SECONDS, JobSpec
from common.jobs.work import Work
from common.storage.objects import object_key
from telemetry.deps import Deps
from telemetry.exports.export_columns import COLUMNS
from telemetry.exports.export_files import CONTENT_TYPES, MAX_LINE_BYTES, convert
from telemetry.ports import ExportWanted, Row

T = TypeVar("T")

EXPORT = JobSpec(
    kind=EXPORT_KIND,
    input=ExportInput,
    result=ExportResult,
    steps=("read", "convert", "store"),
    summary="Write interactions to a file.",
    concurrency=1,
    queue=1_000,
    share=20,
    deadline_seconds=12 * 3600.0,
    keep_seconds=7 * DAY_SECONDS,
)
READ_PERCENT, CONVERTED_PERCENT = 80.0, 95.0
# A database that restarts is waited for in the middle of a page.
AWAY_SECONDS = 1.0


@dataclass(slots=True)
class _Lines:
    """The file as far as it is written."""

    path: Path
    rows: int = 0
    size: int = 0


async def export(work: Work[ExportInput, Deps]) -> ExportResult:
    """Write the interactions that are wanted. Raises Refused 413 where they take more bytes than an export may."""
    given, folder = work.input, await work.folder()
    async with work.step("read"):
        lines = await _read(work, folder / "interactions.jsonl")
    path = lines.path
    if given.format != "jsonl":
        async with work.step("convert"):
            path = folder / f"interactions.{given.format}"
            await work.cpu(convert, str(lines.path), str(path), given.format)
    work.percent(CONVERTED_PERCENT)
    async with work.step("store"):
        key = object_key(EXPORT_FILES, work.job.org_id, work.job.id)
        written = await work.deps.objects.write_file(key, path)
    return ExportResult(
        rows=lines.rows,
        size=written.size,
        sha256=written.sha256,
        content_type=CONTENT_TYPES[given.format],
        name=f"interactions.{given.format}",
        url=f"/v2/exports/{work.job.id}/file",
    )


async def _read(work: Work[ExportInput, Deps], path: Path) -> _Lines:
    lines = _Lines(path)
    await asyncio.to_thread(path.write_bytes, b"")
    wanted = await _patiently(functools.partial(_wanted, work))
    leaves = await _patiently(functools.partial(work.deps.exports.leaves, wanted))
    for number, leaf in enumerate(leaves):
        behind = None
        while page := await _patiently(functools.partial(work.deps.exports.page, wanted, leaf, behind)):
            behind = page[-1]["id"]
            await asyncio.to_thread(_append, lines, page)
            if lines.size > work.deps.settings.export_max_bytes:
                most = work.deps.settings.export_max_bytes
                message = f"The interactions take more than {most} bytes as JSON: export a shorter time."
                raise Refused(413, message, "export_too_large")
        work.percent(READ_PERCENT * (number + 1) / len(leaves))
    return lines


async def _wanted(work: Work[ExportInput, Deps]) -> ExportWanted:
    """With names as they are stored. Raises Refused for those that were sealed with a key that is gone."""
    given, org_id = work.input, work.job.org_id

    async def names(sealed: str | None) -> Sequence[str] | None:
        if sealed is None:
            return None
        try:
            return sorted(await work.deps.terms.as_stored(sealed, org_id))
        except ValueError as error:
            raise Refused(400, f"A name of this export cannot be read: {error}.", "invalid_value") from None

    return ExportWanted(
        org_id, given.mode, given.since, given.until, await names(given.session_id), await names(given.user_id),
        given.model, given.project_id,
    )  # fmt: skip


def _append(lines: _Lines, page: Sequence[Row]) -> None:
    with lines.path.open("ab") as file:
        for row in page:
            line = orjson.dumps(_told(row), option=orjson.OPT_APPEND_NEWLINE)
            if len(line) > MAX_LINE_BYTES:
                # Steps alone can be so many; the interaction itself is never left out.
                line = orjson.dumps({**_told(row), "steps": None}, option=orjson.OPT_APPEND_NEWLINE)
            file.write(line)
            lines.rows += 1
            lines.size += len(line)


def _told(row: Row) -> Mapping[str, Any]:
    """A row as the API has it; JSON that the database gives as text stays what it is."""
    return {
        name: orjson.Fragment(value) if type == "JSON" and (value := row[name]) is not None else row[name]
        for name, type in COLUMNS.items()
    }


async def _patiently(act: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await act()
        except StoreUnavailableError:
            await asyncio.sleep(AWAY_SECONDS)
