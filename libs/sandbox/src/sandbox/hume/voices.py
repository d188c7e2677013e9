"""Voices: the library everybody sees, and custom ones made from a generation of speech."""

import uuid
from typing import Any

from aiohttp import web

from sandbox.hume.accounts import LIBRARY
from sandbox.hume.calls import Call, observed, paged
from sandbox.hume.errors import invalid, json_response, refusal, unprocessable
from sandbox.hume.validation import VOICE_PROVIDERS


def routes() -> list[web.RouteDef]:
    """The routes of voices."""
    return [
        web.get("/v0/tts/voices", observed(list_voices)),
        web.post("/v0/tts/voices", observed(create_voice)),
        web.delete("/v0/tts/voices", observed(delete_voice)),
    ]


async def list_voices(call: Call) -> web.Response:
    """The voices of one provider, which must be named; every filter_tag has to match."""
    provider = call.request.query.get("provider")
    if provider not in VOICE_PROVIDERS:
        raise invalid("provider is required: HUME_AI or CUSTOM_VOICE")
    voices: list[dict[str, Any]] = list(LIBRARY if provider == "HUME_AI" else call.account.voices.values())
    tags = call.request.query.getall("filter_tag", [])
    found = [voice for voice in voices if all(_tagged(voice, tag) for tag in tags)]
    if not call.flag("ascending_order", True):
        found.reverse()
    return paged(call, "voices_page", [_shown(voice) for voice in found])


async def create_voice(call: Call) -> web.Response:
    """Keep the voice of a generation under a name."""
    body = call.body()
    for field in ("generation_id", "name"):
        if not isinstance(body.get(field), str) or not body[field].strip():
            raise unprocessable(field, "field required")
    if body["name"] in call.account.voices:
        raise refusal(409, f"a voice named '{body['name']}' already exists")
    voice = {"id": str(uuid.uuid4()), "name": body["name"], "provider": "CUSTOM_VOICE"}
    call.account.voices[body["name"]] = voice
    return json_response(_shown(voice))


async def delete_voice(call: Call) -> web.Response:
    """Forget a custom voice, by name."""
    name = call.request.query.get("name")
    if not name:
        raise unprocessable("name", "field required", "query")
    if call.account.voices.pop(name, None) is None:
        raise refusal(404, f"voice '{name}' not found")
    return web.Response(status=204)


def _tagged(voice: dict[str, Any], tag: str) -> bool:
    name, _, value = tag.partition(":")
    return str(voice.get("tags", {}).get(name.upper(), "")).lower() == value.lower()


def _shown(voice: dict[str, Any]) -> dict[str, Any]:
    shown = {name: voice[name] for name in ("id", "name", "provider")}
    return {**shown, "compatible_octave_models": ["1", "2"]}
