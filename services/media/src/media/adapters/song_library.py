"""Everything that songs work with, as the settings name it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from common.failures import StoreUnavailableError
from common.kernel.service import Kernel
from common.kernel.tasks import end
from common.kernel.worker_processes import WorkerLimits, WorkerProcesses, open_workers
from common.providers.provider_registry import ProviderRegistry
from common.storage.postgres import Pool
from media.adapters.hashed_texts import HashedTexts
from media.adapters.postgres_songs import PostgresSongs
from media.adapters.song_index import LIMITS, PROCESS, SongIndex
from media.adapters.spotify import open_spotify
from media.metrics import SONGS
from media.settings import MediaSettings
from media.song_ports import Songs
from media.song_vectors.song_embedding import VERSION

# Listens to what is searched with, while somebody waits: a minute of sound in half a second.
LISTENER = "media.music.music_features"
LISTENER_LIMITS = WorkerLimits(seconds=20.0, memory_bytes=768 * 1024 * 1024, niceness=5, wait_seconds=15.0)
COUNT_SECONDS = 30.0


@asynccontextmanager
async def open_song_library(
    settings: MediaSettings, kernel: Kernel, pool: Pool, brief: WorkerProcesses, registry: ProviderRegistry
) -> AsyncIterator[Songs]:
    """Rows, index, texts and Spotify; the process of the index begins when it is first asked."""
    async with AsyncExitStack() as stack:
        rows = PostgresSongs(pool)
        stack.push_async_callback(end, kernel.tasks.spawn(_count(rows), "count-songs"))
        workers = await stack.enter_async_context(open_workers((PROCESS,), size=1, limits=LIMITS))
        listeners = await stack.enter_async_context(open_workers((LISTENER,), size=1, limits=LISTENER_LIMITS))
        index = SongIndex(workers, rows, settings.data_dir / "song-index")
        stack.push_async_callback(index.close)
        spotify = await stack.enter_async_context(
            open_spotify(
                (settings.spotify_accounts_url, settings.spotify_api_url),
                (settings.spotify_client_id, settings.spotify_client_secret.get_secret_value()),
                settings.sandbox_url,
                registry,
            )
        )
        texts = HashedTexts(brief)
        embedding = f"{texts.name}/{VERSION}"
        yield Songs(rows=rows, index=index, texts=texts, catalogue=spotify, listeners=listeners, embedding=embedding)


async def _count(rows: PostgresSongs) -> None:
    """Tell how many songs there are, until cancelled."""
    while True:
        with suppress(StoreUnavailableError):
            SONGS.set(await rows.count())
        await asyncio.sleep(COUNT_SECONDS)
