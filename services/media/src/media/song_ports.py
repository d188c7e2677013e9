"""What songs need from outside: their rows, their index, texts as vectors, and Spotify."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from common.events.songs import SongFacts, SongFilter
from common.kernel.worker_processes import WorkerProcesses


@dataclass(frozen=True, slots=True, kw_only=True)
class SongRow:
    """A song as it is kept. `vector` and `descriptor` hold little-endian floats of 4 bytes."""

    org_id: str
    id: str
    title: str
    artist: str
    album: str
    genres: Sequence[str]
    tags: Sequence[str]
    year: int | None
    seconds: float | None
    tempo: float | None
    key: str | None
    mode: str | None
    loudness: float | None
    energy: float | None
    descriptor: bytes | None
    external_id: str | None
    asset_id: str | None
    spotify_id: str | None
    source: str
    embedding: str
    vector: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Numbered:
    """A vector with the number that names it in the index."""

    number: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class SongChanges:
    """What an index lacks up to `clock`: vectors to take in, and numbers that are nobody's any more."""

    clock: int
    added: Sequence[Numbered]
    removed: Sequence[int]


class SongRows(Protocol):
    """The songs of all organisations. Every method raises StoreUnavailableError while the store is away."""

    async def put(self, org_id: str, rows: Sequence[SongRow], most: int) -> bool:
        """Keep songs of one organisation, each in place of the one with its id; False where that would be too many.

        Raises Refused 409 for an external id that another song has.
        """

    async def get(self, org_id: str, song_id: str) -> SongRow | None:
        """The song."""

    async def page(self, org_id: str, wanted: SongFilter, after: str | None, limit: int) -> Sequence[SongRow]:
        """Up to `limit` songs, newest first, behind the song `after`."""

    async def numbered(self, org_id: str, numbers: Sequence[int]) -> dict[int, SongRow]:
        """The songs whose vectors have these numbers."""

    async def matching(self, org_id: str, wanted: SongFilter) -> Sequence[int]:
        """The numbers of all songs that fit."""

    async def remove(self, org_id: str, song_id: str) -> bool:
        """Forget a song; whether it was there."""

    async def totals(self, org_id: str) -> tuple[int, int]:
        """The clock of the organisation's songs, and how many there are."""

    async def count(self) -> int:
        """How many songs all organisations have."""

    async def changes(self, org_id: str, since: int, most: int) -> SongChanges:
        """What changed behind `since`, in the order of the changes: at most about so many vectors at once."""

    def every(self, org_id: str, at_once: int) -> AsyncIterator[Sequence[SongRow]]:
        """All songs of an organisation, by number, so many at once."""


class Near(NamedTuple):
    """A vector that was found: the number it has, and its inner product with the one that was asked for."""

    number: int
    score: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest first. `exact`: every vector that could be found was looked at."""

    found: Sequence[Near]
    exact: bool


class SongVectors(Protocol):
    """The indexes of all organisations, in a process of their own."""

    async def nearest(self, org_id: str, vector: bytes, limit: int, among: Sequence[int] | None = None) -> Nearest:
        """The nearest vectors, of all or `among` those with such numbers. The index knows every change before the call.

        Raises Refused 503 where it is not ready in time.
        """

    async def refresh(self, org_id: str) -> None:
        """Take in what changed."""


class TextVectors(Protocol):
    """Texts as vectors of 384 dimensions and length 1."""

    @property
    def name(self) -> str:
        """What makes them; vectors of different names do not compare."""

    async def of(self, share: str, texts: Sequence[str]) -> list[bytes]:
        """A vector a text, as little-endian floats of 4 bytes; `share` is the organisation. Raises Refused 503."""


@dataclass(frozen=True, slots=True)
class CataloguedSong:
    """A song as a catalogue describes it."""

    facts: SongFacts
    seconds: float | None


class SongCatalogue(Protocol):
    """A catalogue of everybody's songs."""

    @property
    def name(self) -> str:
        """What it is called in the trail of a job."""

    async def song(self, id: str) -> CataloguedSong:
        """What is known of a song. Raises Refused 404 where there is none, 503 without a key, and ProviderDown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Songs:
    """What songs work with. `embedding` names what makes their vectors; `listeners` look at files while one waits."""

    rows: SongRows
    index: SongVectors
    texts: TextVectors
    catalogue: SongCatalogue
    listeners: WorkerProcesses
    embedding: str
