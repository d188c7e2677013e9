"""`/v1/songs`: jobs that add songs, and questions about them."""

import re

from aiohttp import web

from common.events.songs import (
    SONG_DELETE_REQUESTED,
    SONG_GET_REQUESTED,
    SONG_ID,
    SONG_IMPORT_KIND,
    SONG_KIND,
    SONG_LIST_REQUESTED,
    SONG_MAP_KIND,
    SONG_SEARCH_REQUESTED,
    SongDeleteRequested,
    SongFilter,
    SongGetRequested,
    SongListRequested,
    SongSearchRequested,
)
from gateway.deps import DEPS
from gateway.http.body import read_json
from gateway.http.context import CALLER
from gateway.http.errors import not_found
from gateway.http.request_reply import answer
from gateway.http.validation import read_query, validate
from gateway.media.jobs import accept
from gateway.songs.song_bodies import SongBody, SongImportBody, SongListQuery, SongMapBody, SongSearchBody

MAX_BODY_BYTES = 64 * 1024
KNOWN_ID = re.compile(SONG_ID)
# A file that is asked with is listened to first.
SEARCH_SECONDS = 20.0


async def add(request: web.Request) -> web.Response:
    """`POST /v1/songs`."""
    body = validate(SongBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    return await accept(request, SONG_KIND, body.wanted())


async def import_catalogue(request: web.Request) -> web.Response:
    """`POST /v1/songs/import`."""
    body = validate(SongImportBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    return await accept(request, SONG_IMPORT_KIND, body.wanted())


async def draw_map(request: web.Request) -> web.Response:
    """`POST /v1/songs/map`."""
    given = await read_json(request, max_bytes=MAX_BODY_BYTES) if request.can_read_body else {}
    return await accept(request, SONG_MAP_KIND, validate(SongMapBody, given).wanted())


async def search(request: web.Request) -> web.Response:
    """`POST /v1/songs/search`."""
    body = validate(SongSearchBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = SongSearchRequested(
        org_id=request[CALLER].org_id,
        song_id=body.song_id,
        text=body.text,
        asset_id=body.asset_id,
        filter=body.wanted_filter(),
        limit=body.limit,
    )
    deps = request.app[DEPS]
    return answer(await deps.request_reply.ask(SONG_SEARCH_REQUESTED, wanted, timeout=SEARCH_SECONDS))


async def list_songs(request: web.Request) -> web.Response:
    """`GET /v1/songs`."""
    query = read_query(request, SongListQuery)
    wanted = SongListRequested(
        org_id=request[CALLER].org_id,
        filter=SongFilter(artist=query.artist, genre=query.genre, tag=query.tag),
        after=query.after,
        limit=query.limit,
    )
    return await request.app[DEPS].request_reply.query(SONG_LIST_REQUESTED, wanted)


async def read(request: web.Request) -> web.Response:
    """`GET /v1/songs/{id}`."""
    wanted = SongGetRequested(org_id=request[CALLER].org_id, song_id=_id(request))
    return await request.app[DEPS].request_reply.query(SONG_GET_REQUESTED, wanted)


async def delete(request: web.Request) -> web.Response:
    """`DELETE /v1/songs/{id}`."""
    caller = request[CALLER]
    wanted = SongDeleteRequested(org_id=caller.org_id, key_id=caller.key_id, song_id=_id(request))
    return await request.app[DEPS].request_reply.command(request, SONG_DELETE_REQUESTED, wanted)


def _id(request: web.Request) -> str:
    id = request.match_info["id"]
    if not KNOWN_ID.fullmatch(id):
        raise not_found("There is no such song.", "id", "song_not_found")
    return id
