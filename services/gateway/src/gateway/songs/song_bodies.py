"""Bodies and queries of songs."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from common.events.assets import ASSET_ID
from common.events.songs import (
    MAX_FOUND,
    MAX_QUERY,
    MAX_TEXT,
    MAX_WORDS,
    SONG_ID,
    SPOTIFY_ID,
    Mode,
    SongFilter,
    SongImportInput,
    SongInput,
    SongMapInput,
    Tonic,
)
from gateway.http.fields import Query, Strict, Whole

# What lets one say which song it is must not hold what cannot be shown, or kept.
PLAIN = r"^[^\x00-\x1f\x7f]*$"
# An id, the URI that Spotify's clients copy, or the address of its page.
SPOTIFY = re.compile(rf"(?:spotify:track:|https://open\.spotify\.com/(?:intl-[a-z]+/)?track/)?({SPOTIFY_ID})(?:\?\S*)?")

Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=PLAIN)]
Word = Annotated[str, Field(min_length=1, max_length=100, pattern=PLAIN)]
Words = Annotated[list[Word], Field(max_length=MAX_WORDS, fail_fast=True)]
Year = Annotated[int, Field(ge=1000, le=2999), Whole]
Bpm = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
AssetId = Annotated[str, Field(pattern=rf"^{ASSET_ID}$")]
SongId = Annotated[str, Field(pattern=rf"^{SONG_ID}$")]


def _spotify_id(text: str) -> str:
    found = SPOTIFY.fullmatch(text)
    if found is None:
        raise ValueError("the id of a track at Spotify, its URI, or the address of its page")
    return found[1]


class SongBody(Strict):
    """A song to be added: by metadata, by the asset with its sound, by its id at Spotify, or by several of them.

    What you say goes before what Spotify says, and that before what is heard. A song with the `external_id` of another
    takes its place.
    """

    title: Text = ""
    artist: Text = ""
    album: Text = ""
    genres: Words = Field(default_factory=list)
    tags: Words = Field(default_factory=list)
    year: Year | None = None
    tempo: Bpm | None = None
    key: Tonic | None = None
    mode: Mode | None = None
    external_id: Annotated[str, Field(min_length=1, max_length=200, pattern=PLAIN)] | None = None
    asset_id: AssetId | None = None
    spotify_id: Annotated[str, Field(max_length=300), AfterValidator(_spotify_id)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.title.strip() or self.artist.strip() or self.asset_id or self.spotify_id):
            raise ValueError("one of 'title', 'artist', 'asset_id' and 'spotify_id' is needed")
        return self

    def wanted(self) -> SongInput:
        """What the job gets."""
        return SongInput.model_validate(self.model_dump())


class SongImportBody(Strict):
    """A catalogue: an uploaded file with a song a row, as CSV with a header or as JSON lines.

    Which of them it is, is told by its first letter. Columns and fields are those of a song; others are passed over.
    """

    asset_id: AssetId
    format: Literal["csv", "jsonl"] | None = None

    def wanted(self) -> SongImportInput:
        """What the job gets."""
        return SongImportInput(asset_id=self.asset_id, format=self.format)


class SongMapBody(Strict):
    """A picture of the catalogue: songs that are alike are near to each other."""

    colour_by: Literal["genre", "artist", "key"] = "genre"
    width: Annotated[int, Field(ge=256, le=4096), Whole] = 1200
    height: Annotated[int, Field(ge=256, le=4096), Whole] = 900

    def wanted(self) -> SongMapInput:
        """What the job gets."""
        return SongMapInput.model_validate(self.model_dump())


class SongFilterBody(Strict):
    """Which songs may be found; every part that is given must fit."""

    artist: Word | None = None
    genre: Word | None = None
    tag: Word | None = None
    year_from: Year | None = None
    year_to: Year | None = None
    tempo_from: Bpm | None = None
    tempo_to: Bpm | None = None
    key: Tonic | None = None
    mode: Mode | None = None


class SongSearchBody(Strict):
    """What the songs are to be near to: `song_id`, `text` or `asset_id`, one of them."""

    song_id: SongId | None = None
    text: Annotated[str, Field(min_length=1, max_length=MAX_QUERY)] | None = None
    asset_id: AssetId | None = None
    filter: SongFilterBody = Field(default_factory=SongFilterBody)
    limit: Annotated[int, Field(ge=1, le=MAX_FOUND), Whole] = 10

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if sum(each is not None for each in (self.song_id, self.text, self.asset_id)) != 1:
            raise ValueError("one of 'song_id', 'text' and 'asset_id' is needed")
        return self

    def wanted_filter(self) -> SongFilter:
        """The filter as it travels."""
        return SongFilter.model_validate(self.filter.model_dump())


class SongListQuery(Query):
    """A page, newest first, behind the song `after`; those that fit."""

    artist: Word | None = None
    genre: Word | None = None
    tag: Word | None = None
    after: SongId | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
