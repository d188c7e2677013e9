"""A song's row made, and shown."""

from datetime import UTC, datetime

from common.events.songs import Song, SongFacts
from media.song_ports import SongRow

LOWERED = ("genres", "tags")


def shown_song(row: SongRow) -> Song:
    """A song as callers see it."""
    return Song(
        id=row.id,
        object="song",
        title=row.title,
        artist=row.artist,
        album=row.album,
        genres=tuple(row.genres),
        tags=tuple(row.tags),
        year=row.year,
        seconds=row.seconds,
        tempo=row.tempo,
        key=row.key,
        mode=row.mode,
        loudness=row.loudness,
        energy=row.energy,
        heard=row.descriptor is not None,
        external_id=row.external_id,
        asset_id=row.asset_id,
        spotify_id=row.spotify_id,
        source=row.source,
        embedding=row.embedding,
        created_at=row.created_at.timestamp(),
    )


def merged(first: SongFacts, second: SongFacts) -> SongFacts:
    """What the first says, and what of the second it says nothing about."""
    said = {name: value for name, value in first.model_dump().items() if value not in ("", (), None)}
    return SongFacts.model_validate({**second.model_dump(), **said})


def lowered(facts: SongFacts) -> SongFacts:
    """Genres and tags in lower case, each once: they are filtered by."""
    given = facts.model_dump()
    return SongFacts.model_validate(
        {**given, **{name: tuple(dict.fromkeys(word.lower() for word in given[name])) for name in LOWERED}}
    )


def now() -> datetime:
    return datetime.now(UTC)
