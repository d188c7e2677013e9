"""The job that imports a catalogue: part after part is read, made vectors of and kept; it goes on where it was."""

from pydantic import BaseModel

from common.events.songs import (
    MAX_REFUSED_ROWS,
    SONG_IMPORT_KIND,
    RefusedRow,
    SongFacts,
    SongImportInput,
    SongImportResult,
)
from common.failures import Refused
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from common.kernel.worker_processes import TooDear
from media.deps import Deps
from media.measurement.media_error import MediaError
from media.metrics import CONTENT_PROCESSED, SONG_ROWS
from media.song_ports import SongRow
from media.song_vectors.song_embedding import embedding
from media.songs.catalogue_rows import CataloguePart, format_of, read_part
from media.songs.song_job import indexed, keep, row_facts, song_id
from media.songs.song_text import song_text
from media.songs.song_views import lowered, now

SONG_IMPORT = JobSpec(
    kind=SONG_IMPORT_KIND,
    input=SongImportInput,
    result=SongImportResult,
    steps=("fetch", "import", "index"),
    summary="Import a catalogue of songs.",
    concurrency=2,
    deadline_seconds=4 * 3600.0,
)
PART_ROWS = 2500
IMPORTED_PERCENT = 85.0
ImportWork = Work[SongImportInput, Deps]


class _Progress(BaseModel):
    """How far an import is, as the job remembers it."""

    rows: int = 0
    imported: int = 0
    refused: int = 0
    refused_rows: list[RefusedRow] = []


async def make(work: ImportWork) -> SongImportResult:
    """Import a catalogue. Raises Refused for a file that is none, and where there is no room for its songs."""
    path = await work.folder() / "catalogue"
    async with work.step("fetch"):
        asset = await work.deps.assets.get(work.job.org_id, work.input.asset_id)
        await work.deps.assets.copy_to_file(asset, path)
    format = work.input.format or format_of(path)
    done = _Progress.model_validate(await work.recall("progress") or {})
    async with work.step("import"):
        more = True
        while more:
            try:
                part = await work.cpu(read_part, path, format, done.rows, PART_ROWS)
            except (MediaError, TooDear) as error:
                message = error.message if isinstance(error, MediaError) else f"It cannot be read: {error}."
                raise Refused(422, message, "catalogue_unreadable", "asset_id") from None
            await _take_in(work, part)
            _count(done, part)
            await work.remember("progress", done.model_dump(mode="json"))
            SONG_ROWS.labels("imported").inc(len(part.rows))
            SONG_ROWS.labels("refused").inc(len(part.refused))
            work.percent(IMPORTED_PERCENT * _share(done.rows, asset.size))
            more = part.more
    async with work.step("index"):
        await indexed(work.deps, work.job.org_id)
    CONTENT_PROCESSED.labels(SONG_IMPORT_KIND, "local").inc()
    return SongImportResult(**done.model_dump())


def _share(rows: int, size: int) -> float:
    """How much may be done: a row takes some hundred bytes, and nobody counted them."""
    return min(1.0, rows * 150 / max(1, size))


def _count(done: _Progress, part: CataloguePart) -> None:
    done.rows += part.count
    done.imported += len(part.rows)
    done.refused += len(part.refused)
    room = MAX_REFUSED_ROWS - len(done.refused_rows)
    done.refused_rows += part.refused[:room]


async def _take_in(work: ImportWork, part: CataloguePart) -> None:
    """Keep the songs of a part. The same row in another import, or once more, is the same song."""
    if not part.rows:
        return
    facts = [lowered(row.facts) for row in part.rows]
    vectors = await work.deps.songs.texts.of(work.job.org_id, [song_text(each) for each in facts])
    rows = [_row(work, each, vector) for each, vector in zip(facts, vectors, strict=True)]
    await keep(work.deps, work.job.org_id, rows)


def _row(work: ImportWork, facts: SongFacts, vector: bytes) -> SongRow:
    org_id = work.job.org_id
    return SongRow(
        org_id=org_id,
        id=song_id(org_id, facts.external_id or f"row:{facts.title}/{facts.artist}/{facts.album}"),
        **row_facts(facts),
        seconds=None,
        loudness=None,
        energy=None,
        descriptor=None,
        asset_id=None,
        spotify_id=None,
        source="import",
        embedding=work.deps.songs.embedding,
        vector=embedding(vector, None),
        created_at=now(),
    )
