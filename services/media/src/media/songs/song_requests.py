"""What is asked about songs: found by what they are like, read, listed, forgotten."""

import asyncio
import tempfile
import time
from pathlib import Path

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.songs import (
    Song,
    SongDeleted,
    SongDeleteRequested,
    SongFilter,
    SongGetRequested,
    SongList,
    SongListRequested,
    SongMatch,
    SongMatches,
    SongSearchRequested,
)
from common.failures import Refused
from common.kernel.worker_processes import TooDear, WorkersBusy
from media.deps import Deps
from media.measurement.media_error import MediaError
from media.metrics import SONG_SEARCH_SECONDS, SONG_SEARCHES
from media.song_ports import SongRow
from media.song_vectors.song_embedding import embedding
from media.songs.song_calls import listen
from media.songs.song_job import heard_of
from media.songs.song_views import shown_song

# A file that is asked with is listened to while somebody waits.
MAX_ASKED_BYTES = 30 * 1024 * 1024
ASKED_SECONDS = 60.0


async def search(event: Event[SongSearchRequested], deps: Deps) -> Reply[SongMatches]:
    """200 with the nearest songs; the one that was asked with is not among them."""
    since, by = time.perf_counter(), _asked_with(event.payload)
    matches = await _matches(event.payload, deps)
    SONG_SEARCH_SECONDS.labels(by).observe(time.perf_counter() - since)
    SONG_SEARCHES.labels(by, "hit" if matches.data else "miss").inc()
    return Reply(matches)


def _asked_with(wanted: SongSearchRequested) -> str:
    if wanted.song_id is not None:
        return "song"
    return "text" if wanted.asset_id is None else "sound"


async def _matches(wanted: SongSearchRequested, deps: Deps) -> SongMatches:
    songs = deps.songs
    vector, own = await _asked(wanted, deps)
    among = None
    if wanted.filter != SongFilter():
        among = await songs.rows.matching(wanted.org_id, wanted.filter)
    limit = wanted.limit + (own is not None)
    found = await songs.index.nearest(wanted.org_id, vector, limit, among)
    rows = await songs.rows.numbered(wanted.org_id, [near.number for near in found.found])
    # One that was forgotten meanwhile has no row.
    matches = [
        SongMatch(score=round(near.score, 4), song=shown_song(rows[near.number]))
        for near in found.found
        if near.number in rows and rows[near.number].id != own
    ]
    _, count = await songs.rows.totals(wanted.org_id)
    return SongMatches(object="song.matches", data=tuple(matches[: wanted.limit]), songs=count, exact=found.exact)


async def get(event: Event[SongGetRequested], deps: Deps) -> Reply[Song]:
    """200 with one song."""
    return Reply(shown_song(await _known(event.payload.org_id, event.payload.song_id, deps)))


async def list_songs(event: Event[SongListRequested], deps: Deps) -> Reply[SongList]:
    """200 with a page of songs."""
    wanted = event.payload
    found = await deps.songs.rows.page(wanted.org_id, wanted.filter, wanted.after, wanted.limit + 1)
    shown = tuple(shown_song(row) for row in found[: wanted.limit])
    return Reply(SongList(object="list", data=shown, has_more=len(found) > wanted.limit))


async def delete(event: Event[SongDeleteRequested], deps: Deps) -> Reply[SongDeleted]:
    """200; a repetition is 404, as for every song that is not there."""
    wanted = event.payload
    if not await deps.songs.rows.remove(wanted.org_id, wanted.song_id):
        raise _no_song(wanted.song_id)
    return Reply(SongDeleted(id=wanted.song_id, object="song", deleted=True))


async def _asked(wanted: SongSearchRequested, deps: Deps) -> tuple[bytes, str | None]:
    """The vector that is asked with, and the id of the song whose it is."""
    if wanted.song_id is not None:
        return (await _known(wanted.org_id, wanted.song_id, deps)).vector, wanted.song_id
    if wanted.asset_id is not None:
        return embedding(None, await _sound(wanted.org_id, wanted.asset_id, deps)), None
    [vector] = await deps.songs.texts.of(wanted.org_id, [wanted.text or ""])
    return embedding(vector, None), None


async def _sound(org_id: str, asset_id: str, deps: Deps) -> list[float]:
    asset = await deps.assets.get(org_id, asset_id)
    if asset.size > MAX_ASKED_BYTES:
        message = f"To search with, a file has at most {MAX_ASKED_BYTES} bytes; an excerpt will do."
        raise Refused(413, message, "asset_too_large", "asset_id")
    # What a process that dies leaves here is swept.
    scratch = deps.settings.data_dir / "media-scratch" / deps.settings.instance
    await asyncio.to_thread(scratch.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "asked"
        await deps.assets.copy_to_file(asset, path)
        try:
            return heard_of(await deps.songs.listeners.run(org_id, listen, path, ASKED_SECONDS)).descriptor
        except MediaError as error:
            raise Refused(422, error.message, error.code, "asset_id") from None
        except (TooDear, WorkersBusy) as error:
            raise Refused(503, f"It cannot be listened to now: {error}.", "busy", type="server_error") from None


async def _known(org_id: str, song_id: str, deps: Deps) -> SongRow:
    found = await deps.songs.rows.get(org_id, song_id)
    if found is None:
        raise _no_song(song_id)
    return found


def _no_song(song_id: str) -> Refused:
    return Refused(404, f"There is no song {song_id!r}.", "song_not_found", "id")
