"""The job that draws a map of an organisation's songs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from common.events.songs import SONG_MAP_KIND, SongMapInput, SongMapResult
from common.failures import Refused
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from common.kernel.worker_processes import TooDear
from media.deps import Deps
from media.metrics import CONTENT_PROCESSED
from media.ports import Origin
from media.song_ports import SongRow
from media.songs.song_calls import PictureWish, draw_map

SONG_MAP = JobSpec(
    kind=SONG_MAP_KIND,
    input=SongMapInput,
    result=SongMapResult,
    steps=("gather", "draw", "store"),
    summary="Draw a map of the songs of an organisation.",
    concurrency=2,
    deadline_seconds=1800.0,
)
METHOD = "principal components"
AT_ONCE = 2000
LEAST = 3
MapWork = Work[SongMapInput, Deps]


async def make(work: MapWork) -> SongMapResult:
    """Draw the map. Raises Refused 409 where there are too few songs."""
    folder = await work.folder()
    async with work.step("gather"):
        songs = await _gathered(work, folder / "vectors")
    if len(songs) < LEAST:
        raise Refused(409, f"A map needs at least {LEAST} songs.", "too_few_songs")
    work.percent(40)
    async with work.step("draw"):
        places, explained = await _drawn(work, songs, folder)
    work.percent(80)
    async with work.step("store"):
        assets, origin = work.deps.assets, Origin(work.job.id, SONG_MAP_KIND)
        org_id = work.job.org_id
        picture = await assets.store_file(
            org_id, folder / "map.png", origin=origin, name="songs.png", asset_id=work.asset_id("map")
        )
        points = [{**song, "x": x, "y": y} for song, (x, y) in zip(songs, places, strict=True)]
        listed = await assets.store(
            org_id,
            _once(orjson.dumps(points)),
            origin=origin,
            name="songs.json",
            asset_id=work.asset_id("points"),
            content_type="application/json",
        )
    CONTENT_PROCESSED.labels(SONG_MAP_KIND, "local").inc()
    return SongMapResult(
        asset_id=picture.id,
        url=f"/v1/assets/{picture.id}",
        points_asset_id=listed.id,
        points_url=f"/v1/assets/{listed.id}",
        songs=len(songs),
        method=METHOD,
        explained=explained,
    )


async def _gathered(work: MapWork, path: Path) -> list[dict[str, Any]]:
    """Write all vectors to a file; returns what the map says of their songs."""
    songs = list[dict[str, Any]]()
    with path.open("wb") as file:
        async for rows in work.deps.songs.rows.every(work.job.org_id, AT_ONCE):
            await asyncio.to_thread(file.write, b"".join(row.vector for row in rows))
            songs += [
                {"id": row.id, "title": row.title, "artist": row.artist, "group": _group(work, row)} for row in rows
            ]
    return songs


def _group(work: MapWork, row: SongRow) -> str:
    if work.input.colour_by == "artist":
        return row.artist
    if work.input.colour_by == "key":
        return f"{row.key} {row.mode}" if row.key else ""
    return row.genres[0] if row.genres else ""


async def _drawn(work: MapWork, songs: list[dict[str, Any]], folder: Path) -> tuple[list[tuple[float, float]], float]:
    wish = PictureWish(work.input.width, work.input.height, [song["group"] for song in songs])
    try:
        return await work.cpu(draw_map, folder / "vectors", wish, folder / "map.png")
    except TooDear as error:
        raise Refused(422, f"The map cannot be drawn: {error}.", "map_too_dear") from None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
