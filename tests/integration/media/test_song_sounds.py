"""Songs that an older version heard: the migration leaves their words, and takes what does not compare any more."""

from common.storage.postgres import Pool
from media.adapters.postgres_songs import PostgresSongs
from media.app import MIGRATIONS
from media.song_ports import SongRow
from media.song_vectors.song_embedding import VERSION, as_bytes, embedding
from tests.support.song_rows import song_row

ORG = "org-sounds"
TEXT = as_bytes([1.0] + 383 * [0.0])
SOUND = [3.0, 4.0]


def row(id: str, embedding_name: str, *, heard: bool) -> SongRow:
    sound = {"descriptor": as_bytes(SOUND)} if heard else {}
    return song_row(ORG, id, embedding(TEXT, SOUND if heard else None), embedding=embedding_name, **sound)


async def test_what_an_older_version_heard_is_taken_from_its_vectors(media_rows: Pool) -> None:
    assert VERSION == 2, "a newer version needs a migration of its own"
    songs = PostgresSongs(media_rows)
    old, words, new = (
        row("old", "hashed-words-1/1", heard=True),
        row("words", "hashed-words-1/1", heard=False),
        row("new", "hashed-words-1/2", heard=True),
    )
    assert await songs.put(ORG, [old, words, new], most=10)
    whole = (MIGRATIONS / "0700-song-sounds.sql").read_text()
    await media_rows.execute(whole.partition("-- migrate: apply")[2].partition("-- migrate: rollback")[0])
    for before in (old, words):
        after = await songs.get(ORG, before.id)
        assert after is not None
        assert (after.vector, after.descriptor) == (embedding(TEXT, None), None)
        assert after.embedding == "hashed-words-1/2"
    kept = await songs.get(ORG, "new")
    assert kept is not None
    assert (kept.vector, kept.descriptor) == (new.vector, new.descriptor)
