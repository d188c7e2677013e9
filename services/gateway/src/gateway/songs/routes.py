"""The routes of songs."""

from collections.abc import Sequence
from typing import Any

from common.events.songs import (
    SONG_DELETE_REQUESTED,
    SONG_GET_REQUESTED,
    SONG_LIST_REQUESTED,
    SONG_SEARCH_REQUESTED,
)
from gateway.http.routing import Handler, Route
from gateway.media.routes import makes_job
from gateway.ports import Scope, Work
from gateway.songs import song_endpoints
from gateway.songs.song_bodies import SongBody, SongImportBody, SongListQuery, SongMapBody, SongSearchBody

TAGS = ("songs",)


# Beside the words that stand in the place of an id: no method of a song is one of theirs.
ONE = "/{id:(?!(?:search|import|map)$)[^/]+}"


def _route(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.MEDIA, "work": Work.READ, "errors": (404, 503, 504), "tags": TAGS}
    return Route(method, f"/v1/songs{path}", handler, summary, **{**common, **fields})


ROUTES: Sequence[Route] = [
    makes_job("/v1/songs", song_endpoints.add, "Add a song", name="create_song", request=SongBody, tags=TAGS),
    makes_job(
        "/v1/songs/import",
        song_endpoints.import_catalogue,
        "Import a catalogue of songs",
        name="import_songs",
        request=SongImportBody,
        tags=TAGS,
    ),
    makes_job(
        "/v1/songs/map",
        song_endpoints.draw_map,
        "Draw a map of all songs",
        name="draw_song_map",
        request=SongMapBody,
        tags=TAGS,
    ),
    _route(
        "POST",
        "/search",
        song_endpoints.search,
        "Find songs that are like a song, a text or a sound",
        name="search_songs",
        request=SongSearchBody,
        response=SONG_SEARCH_REQUESTED,
        errors=(404, 413, 422, 503, 504),
    ),
    _route(
        "GET",
        "",
        song_endpoints.list_songs,
        "List songs, newest first",
        query=SongListQuery,
        response=SONG_LIST_REQUESTED,
        errors=(503, 504),
    ),
    _route("GET", ONE, song_endpoints.read, "Read a song", name="get_song", response=SONG_GET_REQUESTED),
    _route(
        "DELETE",
        ONE,
        song_endpoints.delete,
        "Forget a song",
        name="delete_song",
        work=Work.WRITE,
        idempotent=True,
        response=SONG_DELETE_REQUESTED,
        errors=(404, 409, 503, 504),
    ),
]
