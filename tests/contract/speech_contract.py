"""What every provider of speech keeps to, whoever speaks behind it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from common.failures import ProviderDown, Refused
from media.speech.voice_table import voice_table
from media.speech_ports import Sound, SpeechProvider, Utterance

SAID = "Welcome to our amazing content."


def utterance(text: str = SAID, *, speed: float = 1.0, until: float | None = None) -> Utterance:
    return Utterance("org-1", text, voice_table().voices["ava_song"], "Very calm", speed, until or time.time() + 30)


def loudness(sound: Sound) -> float:
    """Root mean square, of 1."""
    samples = np.frombuffer(sound.samples, "<i2").astype(float) / 32_768
    return float(np.sqrt(np.mean(np.square(samples))))


class SpeechContract(ABC):
    """Inherited by the tests of each adapter, which say how to make it."""

    # How a syllable lasts differs; a sentence of nine syllables takes between these.
    seconds = (1.0, 4.0)

    @pytest.fixture
    @abstractmethod
    async def provider(self) -> SpeechProvider:
        """The provider, ready to speak."""

    async def test_speech_can_be_heard_and_is_as_long_as_its_text(self, provider: SpeechProvider) -> None:
        sound = await provider.speak(utterance())
        assert sound.provider == provider.name
        assert len(sound.samples) % 2 == 0
        assert self.seconds[0] < sound.seconds < self.seconds[1]
        assert loudness(sound) > 0.01
        twice = await provider.speak(utterance(f"{SAID} {SAID}"))
        assert twice.seconds == pytest.approx(2 * sound.seconds, rel=0.35)

    async def test_speed_makes_it_shorter(self, provider: SpeechProvider) -> None:
        fast = provider.speeds[1]
        usual, hurried = await provider.speak(utterance()), await provider.speak(utterance(speed=fast))
        assert hurried.speed == fast
        assert hurried.seconds < usual.seconds * (1.15 / fast + 0.1)

    async def test_every_built_in_voice_can_be_asked_for(self, provider: SpeechProvider) -> None:
        known = [voice for voice in voice_table().voices.values() if provider.knows(voice)]
        assert len(known) >= 10
        for voice in known:
            assert (await provider.speak(replace(utterance("Yes."), voice=voice))).samples

    async def test_past_the_deadline_nobody_is_asked(self, provider: SpeechProvider) -> None:
        with pytest.raises(ProviderDown):
            await provider.speak(utterance(until=time.time() - 1))


async def refused(call: Callable[[], Awaitable[object]], status: int, code: str) -> None:
    with pytest.raises(Refused) as met:
        await call()
    assert (met.value.status, met.value.code) == (status, code)
