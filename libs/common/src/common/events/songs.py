"""Songs: what is kept of them, how they are added and imported, and what is asked about them."""

from typing import Annotated, Literal

from pydantic import Field

from common.events.assets import ASSET_ID
from common.events.backoff import A_FEW_TIMES
from common.events.flows import SONG_EMBEDDING
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.spec import Payload, RequestSpec, query

SONG_KIND = SONG_EMBEDDING.kind
SONG_IMPORT_KIND = "song-import"
SONG_MAP_KIND = "song-map"
SONG_ID = r"song_[0-9a-f]{32}"
# As Spotify writes the ids of tracks.
SPOTIFY_ID = r"[0-9A-Za-z]{22}"
MAX_TEXT = 300
MAX_WORDS = 20
MAX_FOUND = 100
MAX_QUERY = 2000
# Of the rows of an import that were refused, so many are named.
MAX_REFUSED_ROWS = 100
DIMENSIONS = 384

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(max_length=MAX_WORDS)]
Year = Annotated[int, Field(ge=1000, le=2999)]
Tempo = Annotated[float, Field(gt=0, le=1000)]
Tonic = Literal["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
Mode = Literal["major", "minor"]


# -- jobs --------------------------------------------------------------------------------------------------------------


class SongFacts(Payload):
    """What is said of a song; `external_id` is what its owner calls it, and no two songs have the same one."""

    title: Text = ""
    artist: Text = ""
    album: Text = ""
    genres: Words = ()
    tags: Words = ()
    year: Year | None = None
    tempo: Tempo | None = None
    key: Tonic | None = None
    mode: Mode | None = None
    external_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class SongInput(SongFacts):
    """A song to be added: with metadata, an audio asset, an id at Spotify, or several of them.

    What the caller says goes before what Spotify says, and that before what is heard.
    """

    asset_id: Annotated[str, Field(pattern=ASSET_ID)] | None = None
    spotify_id: Annotated[str, Field(pattern=SPOTIFY_ID)] | None = None


class SongImportInput(Payload):
    """A catalogue to be imported: an asset with a row a line, as CSV with a header or as JSON lines."""

    asset_id: Annotated[str, Field(pattern=ASSET_ID)]
    format: Literal["csv", "jsonl"] | None = None


class RefusedRow(Payload):
    """A row that is no song: its line in the file, from 1, and why."""

    line: int
    reason: str


class SongImportResult(Payload):
    """What became of a catalogue; of the rows that were refused the first are named."""

    rows: int
    imported: int
    refused: int
    refused_rows: tuple[RefusedRow, ...] = ()


class SongMapInput(Payload):
    """A picture of the catalogue; songs of one genre have one colour, or those of one artist or key."""

    colour_by: Literal["genre", "artist", "key"] = "genre"
    width: Annotated[int, Field(ge=256, le=4096)] = 1200
    height: Annotated[int, Field(ge=256, le=4096)] = 900


class SongMapResult(Payload):
    """The picture (PNG) and the points in it (JSON), as assets; `method` made two dimensions of the vectors."""

    asset_id: str
    url: str
    points_asset_id: str
    points_url: str
    songs: int
    method: str
    explained: float


# -- what is answered --------------------------------------------------------------------------------------------------


class Song(ReplyBody):
    """A song. `tempo` is beats a minute, `loudness` LUFS, `energy` dB below full scale; null where nobody knows.

    `heard` says that its sound was listened to; `embedding` names what made its vector.
    """

    id: str
    object: Literal["song"]
    title: str
    artist: str
    album: str
    genres: tuple[str, ...]
    tags: tuple[str, ...]
    year: int | None
    seconds: float | None
    tempo: float | None
    key: str | None
    mode: str | None
    loudness: float | None
    energy: float | None
    heard: bool
    external_id: str | None
    asset_id: str | None
    spotify_id: str | None
    source: str
    embedding: str
    created_at: float


class SongResult(Payload):
    """The song that was added, and who said what it is."""

    song_id: str
    url: str
    song: dict[str, object]
    sources: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class SongList(ReplyBody):
    """A page, newest first; `has_more`: ask again behind the last one."""

    object: Literal["list"]
    data: tuple[Song, ...]
    has_more: bool


class SongMatch(ReplyBody):
    """A song that was found; `score` is the inner product of both vectors, at most 1."""

    score: float
    song: Song


class SongMatches(ReplyBody):
    """The songs nearest to what was asked, the nearest first. `exact`: all were looked at, not an index of them.

    `songs` is how many the organisation has.
    """

    object: Literal["song.matches"]
    data: tuple[SongMatch, ...]
    songs: int
    exact: bool


class SongDeleted(ReplyBody):
    """It is gone."""

    id: str
    object: Literal["song"]
    deleted: bool


# -- what is asked -----------------------------------------------------------------------------------------------------


class SongFilter(Payload):
    """Which songs may be found; every part that is given must fit."""

    artist: Text | None = None
    genre: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    tag: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    year_from: int | None = None
    year_to: int | None = None
    tempo_from: float | None = None
    tempo_to: float | None = None
    key: Tonic | None = None
    mode: Mode | None = None


class SongSearchRequested(Payload):
    """Find songs near to one of `song_id`, `text` and `asset_id`."""

    org_id: str
    song_id: str | None = None
    text: Annotated[str, Field(max_length=MAX_QUERY)] | None = None
    asset_id: str | None = None
    filter: SongFilter = SongFilter()
    limit: Annotated[int, Field(ge=1, le=MAX_FOUND)] = 10


class SongGetRequested(Payload):
    """One song of an organisation."""

    org_id: str
    song_id: str


class SongListRequested(Payload):
    """Songs of an organisation, newest first, behind the song `after`."""

    org_id: str
    filter: SongFilter = SongFilter()
    after: str | None = None
    limit: int = 20


class SongDeleteRequested(Payload):
    """Forget a song; its audio asset stays."""

    org_id: str
    key_id: str
    song_id: str


SONG_SEARCH_REQUESTED = query(
    type="song.search.requested",
    payload=SongSearchRequested,
    reply=SongMatches,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Find the songs that are nearest to a song, a text or a sound.",
)
SONG_GET_REQUESTED = query(
    type="song.get.requested",
    payload=SongGetRequested,
    reply=Song,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer what a song is.",
)
SONG_LIST_REQUESTED = query(
    type="song.list.requested",
    payload=SongListRequested,
    reply=SongList,
    topic=MEDIA_QUERIES,
    key=lambda query: query.org_id,
    summary="Answer which songs an organisation has.",
)
SONG_DELETE_REQUESTED = RequestSpec(
    type="song.delete.requested",
    version=1,
    payload=SongDeleteRequested,
    reply=SongDeleted,
    topic=MEDIA_COMMANDS,
    key=lambda command: f"{command.org_id}/{command.song_id}",
    summary="Forget a song.",
    retry=A_FEW_TIMES,
    expires=True,
)
SONG_REQUESTS = (SONG_SEARCH_REQUESTED, SONG_GET_REQUESTED, SONG_LIST_REQUESTED, SONG_DELETE_REQUESTED)
