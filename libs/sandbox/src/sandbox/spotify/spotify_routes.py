"""Spotify: tokens for an app, and tracks, artists and audio features by id.

Whatever id is asked for names a track that is always the same; ids that begin with `Missing` name none. Any client id
and secret are taken but `spotify-invalid`. An app whose client id begins with `new-` gets no audio features, as new
apps do not since November 2024. What calls meet is arranged for a client id at `/sandbox/spotify/<client id>`, in the
words of `sandbox.hume.faults`.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from sandbox.hume.faults import Fault, Plan, Planned, UnknownFault, parse
from sandbox.sockets import abort

REFUSED_CLIENT = "spotify-invalid"
NEW_CLIENT = "new-"
MISSING = "Missing"
TOKEN_SECONDS = 3600.0
FOREVER_SECONDS = 86_400.0
ID = re.compile(r"[0-9A-Za-z]{22}")
GENRES = ("dream pop", "hard bop", "minimal techno", "folk rock", "trip hop", "baroque", "afrobeat", "synthwave")
FIRST = ("Silent", "Electric", "Golden", "Paper", "Midnight", "Northern", "Velvet", "Hollow")
LAST = ("Harbour", "Machine", "Garden", "Lights", "Letters", "Weather", "Rooms", "River")
ARTISTS = ("The Quiet Ones", "Ada & the Engines", "Marlow", "Nine Lanterns", "Oona Vale", "Static Choir")


@dataclass(slots=True)
class SpotifyApp:
    """One app: the tokens it was given, until when each holds, and what its calls meet."""

    client_id: str
    token_seconds: float = TOKEN_SECONDS
    tokens: dict[str, float] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    calls: dict[str, int] = field(default_factory=dict)


APPS: web.AppKey[dict[str, SpotifyApp]] = web.AppKey("spotify_apps", dict)


def routes() -> list[web.RouteDef]:
    """The provider's routes and the control routes."""
    return [
        web.post("/spotify/accounts/api/token", token),
        web.get("/spotify/v1/{kind}/{id}", read),
        web.get("/sandbox/spotify/{client}", look),
        web.put("/sandbox/spotify/{client}", arrange),
        web.delete("/sandbox/spotify/{client}", drop),
    ]


def _app(request: web.Request, client_id: str) -> SpotifyApp:
    return request.app[APPS].setdefault(client_id, SpotifyApp(client_id))


# -- the provider ------------------------------------------------------------------------------------------------------


async def token(request: web.Request) -> web.StreamResponse:
    """`POST /api/token` with the grant of an app."""
    form = await request.post()
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    try:
        client, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        client = secret = ""
    if scheme != "Basic" or not client or not secret or client == REFUSED_CLIENT:
        return _json({"error": "invalid_client", "error_description": "Invalid client"}, 400)
    if form.get("grant_type") != "client_credentials":
        return _json({"error": "unsupported_grant_type", "error_description": "grant_type is not supported"}, 400)
    app = _app(request, client)
    if (spoiled := await _spoiled(request, app, "token")) is not None:
        return spoiled
    made = secrets.token_urlsafe(24)
    app.tokens[made] = time.time() + app.token_seconds
    return _json({"access_token": made, "token_type": "Bearer", "expires_in": int(app.token_seconds)})


async def read(request: web.Request) -> web.StreamResponse:
    """`GET /v1/tracks/{id}`, `/v1/artists/{id}` and `/v1/audio-features/{id}`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    app = next((each for each in request.app[APPS].values() if given in each.tokens), None)
    if scheme != "Bearer" or app is None:
        return _error(401, "Invalid access token")
    if app.tokens[given] < time.time():
        return _error(401, "The access token expired")
    kind, id = request.match_info["kind"], request.match_info["id"]
    if (spoiled := await _spoiled(request, app, kind)) is not None:
        return spoiled
    if kind == "audio-features" and app.client_id.startswith(NEW_CLIENT):
        return _error(403, "Forbidden")
    made = {"tracks": track, "artists": artist, "audio-features": audio_features}.get(kind)
    if made is None:
        return _error(404, "Service not found")
    if not ID.fullmatch(id):
        return _error(400, "Invalid base62 id")
    return _error(404, "Resource not found") if id.startswith(MISSING) else _json(made(id))


def track(id: str) -> dict[str, Any]:
    """What is known of a track."""
    dice = _dice(id)
    named = ARTISTS[dice[0] % len(ARTISTS)]
    by = {"id": _id(named), "name": named, "type": "artist"}
    title = f"{FIRST[dice[1] % len(FIRST)]} {LAST[dice[2] % len(LAST)]}"
    album = {"name": f"{LAST[dice[3] % len(LAST)]} ({1970 + dice[4] % 50})", "album_type": "album", "type": "album"}
    released = {"release_date": f"{1970 + dice[4] % 50}-0{1 + dice[5] % 9}-12", "release_date_precision": "day"}
    return {
        "id": id,
        "type": "track",
        "name": title,
        "artists": [by],
        "album": {**album, **released},
        "duration_ms": 120_000 + 1_000 * dice[6],
        "popularity": dice[7] % 101,
        "preview_url": None,
        "uri": f"spotify:track:{id}",
    }


def artist(id: str) -> dict[str, Any]:
    """What is known of an artist: the genres, among it."""
    dice = _dice(id)
    genres = sorted({GENRES[dice[0] % len(GENRES)], GENRES[dice[1] % len(GENRES)]})
    name = next((each for each in ARTISTS if _id(each) == id), "Unknown")
    return {"id": id, "type": "artist", "name": name, "genres": genres, "popularity": dice[2] % 101}


def audio_features(id: str) -> dict[str, Any]:
    """What Spotify measured of a track."""
    dice = _dice(f"features/{id}")
    heard = {"tempo": 70 + dice[0] / 2, "key": dice[1] % 12, "mode": dice[2] % 2, "loudness": -4 - dice[3] / 20}
    return {"id": id, "type": "audio_features", **heard, "energy": dice[4] / 255, "danceability": dice[5] / 255}


def _dice(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:22]


# -- faults and control ------------------------------------------------------------------------------------------------


async def _spoiled(request: web.Request, app: SpotifyApp, kind: str) -> web.StreamResponse | None:
    """What is answered in place of serving the call, if anything."""
    app.calls[kind] = app.calls.get(kind, 0) + 1
    for fault in app.plan.next(request.method, kind):
        if (answer := await _of(request, fault)) is not None:
            return answer
    return None


async def _of(request: web.Request, fault: Fault) -> web.StreamResponse | None:
    if fault.name == "delay":
        await asyncio.sleep(fault.value / 1000)
        return None
    if fault.name == "silence":
        await asyncio.sleep(FOREVER_SECONDS)
    if fault.name in ("reset", "lost"):
        abort(request)
        return web.Response()
    if fault.name == "html":
        return web.Response(status=fault.value, text="<html>Bad Gateway</html>", content_type="text/html")
    if fault.name == "empty":
        return web.Response(status=fault.value)
    if fault.name == "null":
        return web.Response(body=b"null", content_type="application/json")
    headers = {} if fault.after is None else {"Retry-After": str(fault.after)}
    return _error(fault.value, "The request was not served", headers)


async def look(request: web.Request) -> web.Response:
    """How often each kind of call was made."""
    return _json({"calls": _app(request, request.match_info["client"]).calls})


async def arrange(request: web.Request) -> web.Response:
    """`{"faults": [{"do", "times", "path"}], "token_seconds"}`: how later calls fare; `path` is their kind."""
    app = _app(request, request.match_info["client"])
    body = orjson.loads(await request.read())
    try:
        planned = [
            Planned(parse(each["do"]), each.get("times", 1), path=each.get("path", ""))
            for each in body.get("faults", [])
        ]
    except UnknownFault as unknown:
        return _error(400, f"unknown fault: {unknown}")
    app.plan = Plan()
    app.plan.planned.extend(planned)
    app.token_seconds = float(body.get("token_seconds", TOKEN_SECONDS))
    app.tokens.clear()
    return _json({})


async def drop(request: web.Request) -> web.Response:
    """Forget an app."""
    request.app[APPS].pop(request.match_info["client"], None)
    return _json({})


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return _json({"error": {"status": status, "message": message}}, status, headers)


def _json(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)
