"""The weather by Open-Meteo (https://open-meteo.com/en/docs), which needs no key."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from common.failures import ProviderDown, Refused
from common.providers.policy import CallLimits, Policy, no_answer
from llm_stream.ports import ToolError

LIMITS = CallLimits(connect_seconds=1.0, first_byte_seconds=3.0, total_seconds=5.0, concurrency=16)
MAX_ANSWER_BYTES = 64 * 1024
CURRENT = "temperature_2m,wind_speed_10m,weather_code"
# The codes of WMO table 4677 that the API uses, by their tens or exactly.
WEATHER: Mapping[int, str] = {
    0: "clear sky",
    1: "mainly clear",
    2: "partly cloudy",
    3: "overcast",
    45: "fog",
    48: "freezing fog",
    51: "light drizzle",
    53: "drizzle",
    55: "dense drizzle",
    56: "light freezing drizzle",
    57: "freezing drizzle",
    61: "light rain",
    63: "rain",
    65: "heavy rain",
    66: "light freezing rain",
    67: "freezing rain",
    71: "light snow",
    73: "snow",
    75: "heavy snow",
    77: "snow grains",
    80: "light showers",
    81: "showers",
    82: "violent showers",
    85: "light snow showers",
    86: "snow showers",
    95: "thunderstorm",
    96: "thunderstorm with hail",
    99: "thunderstorm with heavy hail",
}


class OpenMeteo:
    """The port `Weather`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, geocoding_url: str) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/v1/forecast"
        self._geocoding_url = f"{geocoding_url.rstrip('/')}/v1/search"
        self._policy = Policy("open-meteo", _verdict, limits=LIMITS)

    async def report(self, place: str) -> dict[str, Any]:
        try:
            found = (await self._get(self._geocoding_url, {"name": place, "count": "1"})).get("results") or []
            if not found:
                raise ToolError(f"there is no place called '{place}'")
            at = {"latitude": str(found[0]["latitude"]), "longitude": str(found[0]["longitude"])}
            current = (await self._get(self._url, {**at, "current": CURRENT}))["current"]
            return {
                "place": ", ".join(part for part in (found[0]["name"], found[0].get("country")) if part),
                "temperature_c": current["temperature_2m"],
                "wind_kmh": current["wind_speed_10m"],
                "weather": WEATHER.get(current["weather_code"], "unknown"),
            }
        except (KeyError, TypeError, IndexError):
            raise ToolError("the weather service answered something else") from None
        except (Refused, ProviderDown):
            raise ToolError("the weather service does not answer") from None

    async def _get(self, url: str, query: Mapping[str, str]) -> dict[str, Any]:
        async def send() -> dict[str, Any]:
            async with self._session.get(url, params=query, allow_redirects=False) as response:
                if response.status != 200:
                    raise ProviderDown(f"The provider failed with status {response.status}.", status=response.status)
                body = await response.content.read(MAX_ANSWER_BYTES)
            read = orjson.loads(body)
            return read if isinstance(read, dict) else {}

        return await self._policy.read(self._policy.begin(), "weather", send)


def _verdict(error: Exception) -> Refused | ProviderDown | None:
    return no_answer(error) if isinstance(error, (aiohttp.ClientError, OSError, ValueError)) else None
