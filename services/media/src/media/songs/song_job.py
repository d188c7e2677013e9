"""The job that adds a song: what is said of it, what it sounds like, its vector, and its place in the index."""

import uuid
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from common.events.flows import SONG_EMBEDDING
from common.events.reply import content
from common.events.songs import SongFacts, SongInput, SongResult
from common.failures import Refused, Retry
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from common.kernel.worker_processes import TooDear
from media.deps import Deps
from media.measurement.media_error import MediaError
from media.metrics import CONTENT_PROCESSED
from media.song_ports import CataloguedSong, SongRow
from media.song_vectors.song_embedding import VERSION, as_bytes, embedding
from media.songs.song_calls import listen
from media.songs.song_text import song_text
from media.songs.song_views import lowered, merged, now, shown_song

SONG = JobSpec(
    kind=SONG_EMBEDDING.kind,
    input=SongInput,
    result=SongResult,
    steps=SONG_EMBEDDING.names,
    summary="Add a song to the index of its organisation.",
    concurrency=8,
    deadline_seconds=1800.0,
)
# Names the songs of all organisations.
SONGS = uuid.UUID("0d9c1a4e-3c55-4bb1-8a07-6a8a52f0a8d1")
SongWork = Work[SongInput, Deps]


class Heard(BaseModel):
    """What was heard in a file, as a job remembers it."""

    seconds: float
    tempo: float
    key: str
    mode: str
    loudness: float
    energy: float
    descriptor: list[float]


class Said(BaseModel):
    """What a catalogue said, as a job remembers it."""

    facts: SongFacts
    seconds: float | None


@dataclass(slots=True)
class _Known:
    """What is known of a song so far, and from whom."""

    facts: SongFacts
    seconds: float | None = None
    sources: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


async def make(work: SongWork) -> SongResult:
    """Add a song. One with the external id of another takes its place."""
    async with work.step("metadata"):
        known = await _metadata(work)
    work.percent(20)
    async with work.step("features"):
        heard = await _features(work, known)
    work.percent(70)
    async with work.step("embedding"):
        row = await _row(work, known, heard)
    work.percent(80)
    async with work.step("index"):
        await keep(work.deps, work.job.org_id, [row])
        await indexed(work.deps, work.job.org_id)
    CONTENT_PROCESSED.labels(SONG.kind, known.sources[-1]).inc()
    return SongResult(
        song_id=row.id,
        url=f"/v1/songs/{row.id}",
        song=content(shown_song(row)),
        sources=tuple(known.sources),
        warnings=tuple(known.warnings),
    )


async def keep(deps: Deps, org_id: str, rows: list[SongRow]) -> None:
    """Write songs. Raises Refused 429 where the organisation has no room for them."""
    most = deps.settings.organization_songs
    if not await deps.songs.rows.put(org_id, rows, most):
        message = f"An organisation has at most {most} songs: delete some first."
        raise Refused(429, message, "song_quota", type="insufficient_quota")


async def indexed(deps: Deps, org_id: str) -> None:
    """Have the index take in what changed. Raises Retry where it cannot now: the rows are kept all the same."""
    try:
        await deps.songs.index.refresh(org_id)
    except Refused as refused:
        raise Retry(refused.message) from refused


def song_id(org_id: str, name: str) -> str:
    """The id of the song that an organisation calls so."""
    return f"song_{uuid.uuid5(SONGS, f'{org_id}/{name}').hex}"


# -- metadata ----------------------------------------------------------------------------------------------------------


async def _metadata(work: SongWork) -> _Known:
    wanted = work.input
    known = _Known(SongFacts.model_validate(wanted.model_dump()))
    if known.facts.title or known.facts.artist:
        known.sources.append("caller")
    if wanted.spotify_id is not None:
        said = await work.once("catalogue", lambda: _catalogued(work, str(wanted.spotify_id)), Said)
        known.facts, known.seconds = merged(known.facts, said.facts), said.seconds
        known.sources.append(work.deps.songs.catalogue.name)
    return known


async def _catalogued(work: SongWork, id: str) -> Said:
    catalogue = work.deps.songs.catalogue
    async with work.attempt(catalogue.name, "track") as attempt:
        attempt.reference = id
        found: CataloguedSong = await catalogue.song(id)
    return Said(facts=found.facts, seconds=found.seconds)


# -- features ----------------------------------------------------------------------------------------------------------


async def _features(work: SongWork, known: _Known) -> Heard | None:
    """What its file sounds like; None where there is no file."""
    asset_id = work.input.asset_id
    if asset_id is None:
        return None
    # What another version heard does not compare with what this one hears.
    heard = await work.once(f"heard/{VERSION}", lambda: _heard(work, asset_id), Heard)
    own = SongFacts.model_validate({"tempo": heard.tempo, "key": heard.key, "mode": heard.mode})
    known.facts = merged(known.facts, own)
    known.seconds = known.seconds or heard.seconds
    known.sources.append("sound")
    return heard


async def _heard(work: SongWork, asset_id: str) -> Heard:
    path = await work.folder() / "track"
    asset = await work.deps.assets.get(work.job.org_id, asset_id)
    await work.deps.assets.copy_to_file(asset, path)
    async with work.attempt("local", "listen"):
        try:
            found = await work.cpu(listen, path)
        except MediaError as error:
            raise Refused(422, error.message, error.code, "asset_id") from None
        except TooDear as error:
            raise Refused(422, f"The file cannot be listened to: {error}.", "media_too_dear", "asset_id") from None
    return heard_of(found)


def heard_of(found: Any) -> Heard:
    """What `media.music.music_features` found, for rows and vectors."""
    return Heard(
        seconds=found.seconds,
        tempo=found.tempo_bpm,
        key=found.key,
        mode=found.mode,
        loudness=found.loudness_lufs,
        energy=found.energy_db,
        descriptor=list(found.descriptor),
    )


# -- the vector --------------------------------------------------------------------------------------------------------


async def _row(work: SongWork, known: _Known, heard: Heard | None) -> SongRow:
    wanted, job = work.input, work.job
    facts = lowered(known.facts)
    text = song_text(facts, None if heard is None else heard.loudness)
    if not text and heard is None:
        raise Refused(422, "Nothing is known of this song: neither metadata nor sound.", "empty_song")
    name = wanted.external_id or (f"spotify:{wanted.spotify_id}" if wanted.spotify_id else job.id)
    [vector] = await work.deps.songs.texts.of(job.org_id, [text])
    return SongRow(
        org_id=job.org_id,
        id=song_id(job.org_id, name),
        **row_facts(facts),
        seconds=known.seconds,
        loudness=None if heard is None else heard.loudness,
        energy=None if heard is None else heard.energy,
        descriptor=None if heard is None else as_bytes(heard.descriptor),
        asset_id=wanted.asset_id,
        spotify_id=wanted.spotify_id,
        source="+".join(known.sources) or "caller",
        embedding=work.deps.songs.embedding,
        vector=embedding(vector if text else None, None if heard is None else heard.descriptor),
        created_at=now(),
    )


def row_facts(facts: SongFacts) -> dict[str, Any]:
    """The columns that hold what is said of a song."""
    given = facts.model_dump()
    return {**given, "genres": list(given["genres"]), "tags": list(given["tags"])}
