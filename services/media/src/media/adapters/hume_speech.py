"""The port `SpeechProvider` on Hume's Octave, streamed as lines of JSON.

The package `hume` is not used: it passes over the lines that report an error inside a 200, and gives a shorter stream.
Sources: Hume's API reference, "Text-to-speech (Streamed JSON)" and "Errors".
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from common.failures import ProviderDown, Refused
from common.providers.policy import Policy
from common.providers.retry_after import retry_after
from media.speech_ports import NO_VOICE, Sound, Utterance, Voice

PROVIDER = "hume"
OPERATION = "tts"
RATE = 48_000
# Outside of these it gets unsteady, by Hume's own word.
SPEEDS = (0.75, 1.5)
# A line with a second of sound is about 130 KB; one that is longer than this is no line of theirs.
MAX_LINE_BYTES = 8 * 1024 * 1024
# Two minutes: a piece of text is about 25 seconds.
MAX_SAMPLES_BYTES = 2 * RATE * 120
MAX_ERROR_BYTES = 64 * 1024
NO_CREDITS = "E0300"
# What a request itself causes; everything else is between Hume and us.
CALLERS_FAULT = frozenset({400, 413, 415, 422})


@dataclass(frozen=True, slots=True)
class HumeAccount:
    """A key, and the policy that every call with it passes."""

    api_key: str = field(repr=False)
    policy: Policy


class HumeSpeech:
    """Octave: with the account of the organisation where it has one of its own, else with that of all others."""

    name = PROVIDER
    speeds = SPEEDS

    def __init__(
        self,
        session: aiohttp.ClientSession,
        shared: HumeAccount,
        *,
        base_url: str,
        own: Mapping[str, HumeAccount] | None = None,
        version: str = "",
        usd_per_million: float = 0.0,
        sandbox: bool = False,
    ) -> None:
        self._session = session
        self._shared = shared
        self._own = own or {}
        self._url = f"{base_url.rstrip('/')}/v0/tts/stream/json"
        self._version = version
        self._usd_per_million = usd_per_million
        self.sandbox = sandbox
        self.identity = f"octave-{version or 'default'}{'-sandbox' if sandbox else ''}"

    def serves(self, org_id: str) -> bool:
        """Whether there is a key for it."""
        return self._account(org_id).policy.record.configured

    def _account(self, org_id: str) -> HumeAccount:
        return self._own.get(org_id, self._shared)

    def knows(self, voice: Voice) -> bool:
        """A voice of its library or of the account; one of another provider alone it does not know."""
        return PROVIDER in voice.names

    async def speak(self, utterance: Utterance) -> Sound:
        """Raises Refused and ProviderDown."""
        body = self._body(utterance)
        account = self._account(utterance.org_id)
        headers = {"X-Hume-Api-Key": account.api_key}
        budget = account.policy.begin(deadline=utterance.until)

        async def send() -> Sound:
            async with self._session.post(self._url, json=body, headers=headers) as answer:
                if answer.status != 200:
                    raise await _failure(answer, utterance.voice)
                samples, reference = await _read(answer)
            cost = len(utterance.text) * self._usd_per_million / 1_000_000
            return Sound(samples, RATE, PROVIDER, utterance.speed, cost, reference)

        return await account.policy.read(budget, OPERATION, send)

    def _body(self, utterance: Utterance) -> dict[str, Any]:
        voice = utterance.voice
        called = voice.names[PROVIDER]
        spoken: dict[str, Any] = {
            "text": utterance.text,
            "speed": utterance.speed,
            "voice": {"name": called, "provider": voice.library},
        }
        if utterance.description:
            spoken["description"] = utterance.description
        body: dict[str, Any] = {
            "utterances": [spoken],
            "format": {"type": "pcm"},
            "num_generations": 1,
            "split_utterances": False,
            "strip_headers": True,
            "instant_mode": True,
        }
        if self._version:
            body["version"] = self._version
        return body


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error of the client means; None for one that is ours."""
    if isinstance(error, aiohttp.ClientError | OSError | asyncio.TimeoutError):
        return ProviderDown(f"Hume did not answer properly: {type(error).__name__}.")
    return None


async def _read(answer: aiohttp.ClientResponse) -> tuple[bytes, str | None]:
    """The samples of all lines, and the generation. An end without a last chunk is no end."""
    samples, reference, ended = bytearray(), None, False
    async for line in _lines(answer):
        chunk = _chunk(line)
        if chunk is None:
            continue
        samples += chunk[0]
        reference = chunk[1] or reference
        ended = ended or chunk[2]
        if len(samples) > MAX_SAMPLES_BYTES:
            raise ProviderDown("Hume sent more sound than the text could be.")
    if not ended:
        raise ProviderDown("Hume broke off in the middle of the speech.")
    if not samples:
        raise ProviderDown("Hume answered without any sound.")
    return bytes(samples), reference


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines that say something, however they were cut on their way; each byte is looked at once."""
    waiting = bytearray()
    async for data in answer.content.iter_any():
        seen = len(waiting)
        waiting += data
        while (end := waiting.find(b"\n", seen)) >= 0:
            if line := bytes(waiting[:end]).strip():
                yield line
            del waiting[: end + 1]
            seen = 0
        if len(waiting) > MAX_LINE_BYTES:
            raise ProviderDown("Hume sent a line without an end.")
    if line := bytes(waiting).strip():
        yield line


def _chunk(line: bytes) -> tuple[bytes, str | None, bool] | None:
    """Samples, generation and whether it is the last; None for a line about something else.

    Raises ProviderDown or Refused for one that reports an error, and for one that is none of theirs.
    """
    try:
        told = orjson.loads(line)
        kind = told.get("type", "audio")
        if kind == "error":
            raise _told(200, told, None)
        if kind != "audio":
            return None
        return b64decode(told["audio"], validate=True), told.get("generation_id"), bool(told.get("is_last_chunk"))
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, binascii.Error):
        raise ProviderDown("Hume sent something that is no speech.") from None


async def _failure(answer: aiohttp.ClientResponse, voice: Voice) -> Refused | ProviderDown:
    body = await answer.content.read(MAX_ERROR_BYTES)
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        told = {}
    after = retry_after(answer.headers)
    if answer.status == 404 and isinstance(told, dict) and "voice" in str(told.get("message", "")):
        message = f"The provider does not have the voice {voice.name!r}."
        return Refused(404, message, NO_VOICE, "voice")
    return _told(answer.status, told, after)


def _told(status: int, told: Any, after: float | None) -> Refused | ProviderDown:
    """What an error means: the caller's fault, or one that another provider may not have."""
    said = told if isinstance(told, dict) else {}
    code = str(said.get("code") or "")
    message = str(said.get("message") or said.get("error") or _details(said) or f"status {status}")[:300]
    if status in CALLERS_FAULT and code != NO_CREDITS:
        return Refused(400, f"The provider refused the text: {message}", "refused_by_provider", "input")
    # Without credits another try at it is in vain; the breaker may as well know.
    lasting = code == NO_CREDITS
    return ProviderDown(f"Hume failed: {message}", status=402 if lasting else status, retry_after=after)


def _details(said: dict[str, Any]) -> str:
    details = said.get("detail")
    if not isinstance(details, list):
        return ""
    return "; ".join(str(each.get("msg")) for each in details if isinstance(each, dict))
