"""Open-Meteo: the search for places and the weather there, which need no key.

A place is found wherever its name says nothing else: `Nowhere` is not found, `Outage` answers 503, `Silence` nothing
for an hour. The weather of a place is always the same.
"""

import asyncio
import hashlib
import math

import orjson
from aiohttp import web

MAX_NAME = 200
SILENCE_SECONDS = 3600.0
CODES = (0, 1, 2, 3, 45, 61, 63, 71, 80, 95)


def routes() -> list[web.RouteDef]:
    """The routes of the API's two hosts."""
    return [web.get("/v1/search", search), web.get("/v1/forecast", forecast)]


async def search(request: web.Request) -> web.Response:
    """The places of a name."""
    name = request.query.get("name", "")[:MAX_NAME]
    if name == "Silence":
        await asyncio.sleep(SILENCE_SECONDS)
    if name == "Outage":
        return _json({"error": True, "reason": "Service unavailable"}, 503)
    if len(name) < 2 or name == "Nowhere":
        return _json({"generationtime_ms": 0.5})
    digest = hashlib.sha256(name.casefold().encode()).digest()
    place = {
        "id": int.from_bytes(digest[:3]),
        "name": name,
        "latitude": digest[3] / 255 * 140 - 70,
        "longitude": digest[4] / 255 * 360 - 180,
        "country": "Sandbox",
    }
    return _json({"results": [place], "generationtime_ms": 0.5})


async def forecast(request: web.Request) -> web.Response:
    """What is measured at a place now."""
    try:
        latitude, longitude = float(request.query["latitude"]), float(request.query["longitude"])
    except (KeyError, ValueError):
        return _refused("Parameter 'latitude' and 'longitude' must be given as numbers.")
    if not (math.isfinite(latitude) and abs(latitude) <= 90 and abs(longitude) <= 180):
        return _refused("Latitude must be in range of -90 to 90°.")
    seed = hashlib.sha256(f"{latitude:.4f} {longitude:.4f}".encode()).digest()
    known: dict[str, float] = {
        "temperature_2m": round(30 - abs(latitude) / 2 + seed[0] / 64, 1),
        "wind_speed_10m": round(seed[1] / 8, 1),
        "weather_code": CODES[seed[2] % len(CODES)],
    }
    wanted = [name for name in request.query.get("current", "").split(",") if name]
    if unknown := [name for name in wanted if name not in known]:
        return _refused(f"Cannot initialize SurfacePressureAndHeightVariable from invalid String value {unknown[0]}.")
    current = {"time": "2026-01-01T12:00", "interval": 900, **{name: known[name] for name in wanted}}
    return _json({"latitude": latitude, "longitude": longitude, "timezone": "GMT", "current": current})


def _refused(reason: str) -> web.Response:
    return _json({"error": True, "reason": reason}, 400)


def _json(body: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
