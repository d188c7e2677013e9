"""Rows of songs as the database holds them, with nothing known but what is given."""

from datetime import UTC, datetime
from typing import Any

from media.song_ports import SongRow


def song_row(org_id: str, id: str, vector: bytes, **known: Any) -> SongRow:
    """A song whose fields are empty where `known` does not name them."""
    empty: dict[str, Any] = {
        "title": id,
        "artist": "",
        "album": "",
        "genres": (),
        "tags": (),
        "year": None,
        "seconds": None,
        "tempo": None,
        "key": None,
        "mode": None,
        "loudness": None,
        "energy": None,
        "descriptor": None,
        "external_id": None,
        "asset_id": None,
        "spotify_id": None,
        "source": "test",
        "embedding": "test",
        "created_at": datetime.now(UTC),
    }
    return SongRow(org_id=org_id, id=id, vector=vector, **(empty | known))
