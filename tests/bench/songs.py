"""`python -m tests.bench.songs`: how well and how fast songs are found, and how often tempo and key are right.

Three tables. The index: recall@10 beside a look at every vector, and the time of one search through the service's own
call (the change clock is read from PostgreSQL, the process of the index answers). Tempo and key of synthesised tracks
whose truth is known. Covers (another key, tempo and sound) and excerpts beside strangers.

The vectors are made as songs' are: most have a part for words and a part for sound, some have words alone. They stand
in clusters, as artists and genres do; vectors at random would all be equally far from one another.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.events.songs import DIMENSIONS
from common.jobs.open_jobs import JOBS_MIGRATIONS
from common.kernel.worker_processes import open_workers
from common.storage.postgres import Pool, open_postgres
from media.adapters.postgres_songs import PostgresSongs
from media.adapters.song_index import LIMITS, PROCESS, SongIndex
from media.app import MIGRATIONS, SCHEMA
from media.music.music_features import MusicFeatures, analyse
from media.song_vectors.song_embedding import SHARE, TEXT_SIZE
from sonant_cli.engines import postgres
from tests.bench.tables import number, table
from tests.support.engines import new_database, running
from tests.support.song_rows import song_row
from tests.support.synth_music import RATE, Song, as_file, cover_of, played, random_song

Floats = NDArray[np.float32]
ORG = "bench"
FOUND = 10
QUERIES = 300
PART_ROWS = 2000
# One in so many songs has no sound.
SILENT_SHARE = 0.3
CLUSTERS = 2000


# -- the index ---------------------------------------------------------------------------------------------------------


def made_vectors(count: int, seed: int = 7) -> Floats:
    """Vectors as those of songs: words in clusters, sound in others, each part of length √½ or zero."""
    dice = np.random.default_rng(seed)
    parts = []
    for size in (TEXT_SIZE, DIMENSIONS - TEXT_SIZE):
        centres = dice.normal(size=(CLUSTERS, size)).astype(np.float32)
        part = centres[dice.integers(CLUSTERS, size=count)] + 0.7 * dice.normal(size=(count, size)).astype(np.float32)
        parts.append(SHARE * part / np.linalg.norm(part, axis=1, keepdims=True))
    parts[1][dice.random(count) < SILENT_SHARE] = 0.0
    return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)


def asked_vectors(vectors: Floats) -> dict[str, Floats]:
    """What is searched with: songs of the catalogue, and words or sounds alone that are near to some."""
    dice = np.random.default_rng(11)
    some = vectors[dice.choice(len(vectors), QUERIES, replace=False)]
    heard = vectors[np.linalg.norm(vectors[:, TEXT_SIZE:], axis=1) > 0]
    words, sounds = some.copy(), heard[dice.choice(len(heard), QUERIES, replace=False)].copy()
    words[:, TEXT_SIZE:] = 0.0
    words[:, :TEXT_SIZE] += 0.02 * dice.normal(size=(QUERIES, TEXT_SIZE))
    sounds[:, :TEXT_SIZE] = 0.0
    sounds[:, TEXT_SIZE:] += 0.02 * dice.normal(size=(QUERIES, DIMENSIONS - TEXT_SIZE))
    return {"song": some, "text": words.astype(np.float32), "sound": sounds.astype(np.float32)}


async def measure_index(songs: SongIndex, pool: Pool, vectors: Floats) -> list[list[str]]:
    """A line for each kind of question."""
    known = await pool.fetch("SELECT number, id FROM media.songs WHERE org_id = $1", ORG)
    place_of = {row["number"]: int(row["id"].removeprefix("song_"), 16) for row in known}
    lines = []
    for kind, asked in asked_vectors(vectors).items():
        # Beforehand: a look at all vectors leaves nothing in the caches, and other threads at work.
        truths = [set(np.argpartition(-(vectors @ query), FOUND)[:FOUND].tolist()) for query in asked]
        hits, seconds = 0.0, []
        for query, truth in zip(asked, truths, strict=True):
            began = time.perf_counter()
            nearest = await songs.nearest(ORG, query.astype("<f4").tobytes(), FOUND)
            seconds.append(time.perf_counter() - began)
            hits += len({place_of[near.number] for near in nearest.found} & truth) / FOUND
        seconds.sort()
        p50, p99 = statistics.median(seconds) * 1000, seconds[int(len(seconds) * 0.99)] * 1000
        method = "flat" if nearest.exact else "HNSW"
        lines.append([f"{len(vectors):,}", kind, method, number(hits / len(asked), 3), number(p50, 2), number(p99, 2)])
    return lines


@asynccontextmanager
async def library(vectors: Floats, folder: Path) -> AsyncIterator[tuple[SongIndex, Pool]]:
    """An index beside rows that hold the vectors, on an engine of its own."""
    async with running(postgres) as engine, new_database(engine.url, "songs") as url:
        opened = open_postgres(
            url, size=4, migrations=MIGRATIONS, schema=SCHEMA, unit_of_work=True, shared=[JOBS_MIGRATIONS]
        )
        async with opened as pool, open_workers((PROCESS,), size=1, limits=LIMITS) as workers:
            rows = PostgresSongs(pool)
            for at in range(0, len(vectors), PART_ROWS):
                some = enumerate(vectors[at : at + PART_ROWS], at)
                part = [song_row(ORG, f"song_{place:032x}", vector.astype("<f4").tobytes()) for place, vector in some]
                assert await rows.put(ORG, part, most=len(vectors))
            index = SongIndex(workers, rows, folder)
            began = time.perf_counter()
            await index.refresh(ORG)
            print(f"{len(vectors):,} songs taken into the index in {time.perf_counter() - began:.1f} s")
            yield index, pool


async def index_table(sizes: list[int]) -> None:
    """Recall and time of searches in catalogues of these sizes."""
    lines = []
    for size in sizes:
        vectors = made_vectors(size)
        with tempfile.TemporaryDirectory(prefix="sonant-bench-") as folder:
            async with library(vectors, Path(folder)) as (index, pool):
                lines += await measure_index(index, pool, vectors)
        # After each size, so that a run that is ended early has said something.
        print(table(["songs", "asked with", "method", f"recall@{FOUND}", "p50 ms", "p99 ms"], lines))


# -- tempo, key, covers ------------------------------------------------------------------------------------------------


def heard(song: Song, part: tuple[float, float] | None = None) -> MusicFeatures:
    """What is measured of a song, or of the part from a share of it on, so many seconds long."""
    samples = played(song)
    if part is not None:
        begin = int(part[0] * len(samples))
        samples = samples[begin : begin + int(part[1] * RATE)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "track.wav"
        path.write_bytes(as_file(samples))
        return analyse(path, "audio/wav")


def music_tables(count: int, first_seed: int) -> None:
    """Tempo and key of tracks, and how near their covers and excerpts are."""
    songs = [random_song(first_seed + at) for at in range(count)]
    with ProcessPoolExecutor(2) as pool:
        originals = list(pool.map(heard, songs))
        covers = list(pool.map(heard, [cover_of(song, at) for at, song in enumerate(songs)]))
        excerpts = list(pool.map(heard, songs, [(0.3, 15.0)] * count))
    pairs = list(zip(songs, originals, strict=True))
    tempo = sum(abs(found.tempo_bpm - song.bpm) / song.bpm < 0.04 for song, found in pairs) / count
    key = sum((found.key, found.mode) == (song.key, song.mode) for song, found in pairs) / count
    lines = [["tempo within 4 %", number(100 * tempo, 1)], ["key and mode right", number(100 * key, 1)]]
    known = np.array([found.descriptor for found in originals])
    for name, others in (("cover", covers), ("excerpt of 15 s", excerpts)):
        likeness = np.array([found.descriptor for found in others]) @ known.T
        own = likeness.diagonal()
        nearer = (own[:, None] > likeness).sum() / (count * (count - 1))
        first = (likeness.argmax(axis=1) == np.arange(count)).mean()
        lines.append([f"{name} nearer than a stranger", number(100 * float(nearer), 1)])
        lines.append([f"{name} nearest of {count}", number(100 * float(first), 1)])
    print(table([f"{count} synthesised tracks", "percent"], lines))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="sizes of catalogues")
    parser.add_argument("--tracks", type=int, default=60, help="tracks to be synthesised and listened to")
    parser.add_argument("--seed", type=int, default=5000, help="of the first track")
    options = parser.parse_args()
    if options.songs:
        asyncio.run(index_table(options.songs))
    if options.tracks:
        music_tables(options.tracks, options.seed)


if __name__ == "__main__":
    main()
