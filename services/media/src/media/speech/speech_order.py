"""An order: what is to be spoken, by which voice, how and in which format, and the keys under which it is kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from common.events.speech import SpeechInput
from common.failures import Refused
from media.audio_formats import FORMATS, AudioFormat
from media.speech.segments import Segment, segments
from media.speech.speaking_style import describe
from media.speech_ports import SpeechProvider, Voice

# Part of every key: a change in how sound is made makes what was kept before out of date.
KEEPING = 1


@dataclass(frozen=True, slots=True)
class Order:
    """A request, understood. `providers` are to be asked in this order."""

    org_id: str
    segments: Sequence[Segment]
    voice: Voice
    description: str
    speed: float
    format: AudioFormat
    rate: int
    providers: Sequence[SpeechProvider]
    until: float

    @property
    def characters(self) -> int:
        """Of what is spoken."""
        return sum(len(each.text) for each in self.segments)

    def whole_key(self) -> str:
        """Where the whole is kept: whatever makes it sound otherwise is part of it."""
        first = self.providers[0]
        spoken = [[each.text, each.pause] for each in self.segments]
        return _key("whole", [spoken, self._manner(first), self.speed, self.format.name, self.rate])

    def segment_key(self, index: int, provider: SpeechProvider) -> str:
        """Where one piece is kept as this provider speaks it: in any format, in any text."""
        return _key("segment", [self.segments[index].text, self._manner(provider), self.provider_speed(provider)])

    def provider_speed(self, provider: SpeechProvider) -> float:
        """The speed that the provider makes; the rest is ours."""
        low, high = provider.speeds
        return min(high, max(low, self.speed))

    def _manner(self, provider: SpeechProvider) -> list[str]:
        voice = self.voice
        called = voice.names.get(provider.name, voice.id)
        return [provider.name, provider.identity, called, voice.library, self.description]


def _key(kind: str, parts: list[object]) -> str:
    return hashlib.sha256(orjson.dumps([KEEPING, kind, *parts])).hexdigest()


def order_of(org_id: str, asked: SpeechInput, voice: Voice, providers: Sequence[SpeechProvider], until: float) -> Order:
    """The order of a request. Raises Refused where nothing can be said, or nobody can say it."""
    pieces = segments(asked.text)
    if not pieces:
        raise Refused(400, "Invalid 'input': there is nothing in it that can be said.", "nothing_to_say", "input")
    format = FORMATS[asked.format]
    able = _asked_first([each for each in providers if each.serves(org_id) and each.knows(voice)], asked.provider)
    if not able:
        message = "No provider that could speak is configured."
        raise Refused(503, message, "provider_unconfigured", type="api_error")
    return Order(
        org_id=org_id,
        segments=pieces,
        voice=voice,
        description=describe(asked.emotion, asked.description),
        speed=asked.speed,
        format=format,
        rate=asked.sample_rate or format.rate,
        providers=able,
        until=until,
    )


def _asked_first(providers: Sequence[SpeechProvider], named: str | None) -> list[SpeechProvider]:
    """The providers with the one that is named in front."""
    return sorted(providers, key=lambda each: each.name != named) if named else list(providers)
