"""What is asked for becomes an order: a voice, a description, providers in their order, and keys to keep it under."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from common.events.speech import Emotion, SpeechInput, VoiceChoice
from common.failures import Refused
from media.speech.speaking_style import MAX_DESCRIPTION, PHRASES, describe
from media.speech.speech_order import Order, order_of
from media.speech.voice_choice import Voices
from media.speech.voice_table import read_table, voice_table
from media.speech_ports import Sound, SpeechProvider, Utterance, Voice


@dataclass
class Provider:
    """One that knows every voice with a name for it; it never speaks here."""

    name: str
    configured: bool = True
    speeds: tuple[float, float] = (0.5, 2.0)
    identity: str = "model-1"
    sandbox: bool = False

    def serves(self, org_id: str) -> bool:
        return self.configured

    def knows(self, voice: Voice) -> bool:
        return self.name in voice.names

    async def speak(self, utterance: Utterance) -> Sound:
        raise AssertionError(utterance)


class Catalogue:
    """Voices of one organisation."""

    def __init__(self, *voices: Voice) -> None:
        self._voices = voices

    async def find(self, org_id: str, wanted: str) -> Voice | None:
        return next((each for each in self._voices if wanted in (each.id, each.name)), None)

    async def all(self, org_id: str) -> Sequence[Voice]:
        return self._voices


class Away:
    """A catalogue that does not answer."""

    async def find(self, org_id: str, wanted: str) -> Voice | None:
        raise Refused(503, "away", "unavailable")

    async def all(self, org_id: str) -> Sequence[Voice]:
        raise Refused(503, "away", "unavailable")


def order(text: str = "Hello there.", *providers: SpeechProvider, org: str = "org-1", **given: object) -> Order:
    asked = SpeechInput(text=text, voice=VoiceChoice(name="x"), **given)
    able = providers or (Provider("hume"), Provider("openai"))
    return order_of(org, asked, voice_table().voices["ava_song"], able, time.time() + 10)


class TestStyle:
    @pytest.mark.parametrize(
        ("intensity", "expected"),
        [
            (0.0, "Barely noticeably friendly and warm"),
            (0.2, "Slightly friendly and warm"),
            (0.5, "Friendly and warm"),
            (0.7, "Very friendly and warm"),
            (1.0, "Extremely friendly and warm"),
        ],
    )
    def test_intensity_is_a_word(self, intensity: float, expected: str) -> None:
        assert describe(Emotion(name="friendly", intensity=intensity), "") == expected

    def test_an_emotion_that_nobody_listed_is_said_as_it_is(self) -> None:
        assert describe(Emotion(name="Wistful", intensity=0.5), "") == "Wistful"

    def test_the_callers_own_words_follow(self) -> None:
        assert describe(Emotion(name="calm"), " like a pilot ") == f"{PHRASES['calm'].capitalize()}. like a pilot"
        assert describe(None, "") == ""
        assert len(describe(None, "x" * 5_000)) == MAX_DESCRIPTION


class TestVoices:
    async def test_a_voice_is_found_by_name_id_and_type_of_content(self) -> None:
        voices = Voices(voice_table(), Catalogue())
        for choice in (
            VoiceChoice(name="Colton Rivers"),
            VoiceChoice(name="colton-rivers"),
            VoiceChoice(id="colton_rivers"),
            VoiceChoice(content_type="podcast"),
            VoiceChoice(name="podcast"),
        ):
            assert (await voices.chosen("org-1", choice)).id == "colton_rivers"

    async def test_the_organisations_own_voice_comes_first(self) -> None:
        own = Voice("5a1", "nova", {"hume": "nova"}, source="catalogue")
        assert await Voices(voice_table(), Catalogue(own)).chosen("org-1", VoiceChoice(name="nova")) == own

    @pytest.mark.parametrize("choice", [VoiceChoice(name="nobody"), VoiceChoice(content_type="nothing like it")])
    async def test_a_voice_that_is_not_there_is_404(self, choice: VoiceChoice) -> None:
        with pytest.raises(Refused) as met:
            await Voices(voice_table(), Catalogue()).chosen("org-1", choice)
        assert (met.value.status, met.value.param) == (404, "voice")

    async def test_built_in_voices_speak_while_the_catalogue_is_away(self) -> None:
        voices = Voices(voice_table(), Away())
        assert (await voices.chosen("org-1", VoiceChoice(name="nova"))).id == "nova"
        with pytest.raises(Refused) as met:
            await voices.chosen("org-1", VoiceChoice(name="only-there"))
        assert met.value.status == 503

    async def test_the_list_has_each_name_once(self) -> None:
        own = Voice("5a1", "Nova", {"hume": "Nova"}, source="catalogue")
        listed = await Voices(voice_table(), Catalogue(own)).listed("org-1", (Provider("hume"), Provider("openai")))
        assert [voice.id for voice in listed.voices if voice.name == "Nova"] == ["5a1"]
        assert listed.voices[0].providers == ("hume",)

    def test_a_table_that_contradicts_itself_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no such voices"):
            read_table('[voices.a]\nname = "A"\n[content_types]\nnews = "b"')


class TestOrders:
    def test_who_is_named_is_asked_first(self) -> None:
        providers = (Provider("hume"), Provider("openai"), Provider("local"))
        asked = order("Hi.", *providers, provider="openai")
        assert [each.name for each in asked.providers] == ["openai", "hume", "local"]

    def test_who_has_no_key_is_passed_over(self) -> None:
        asked = order("Hi.", Provider("hume", configured=False), Provider("openai"))
        assert [each.name for each in asked.providers] == ["openai"]
        with pytest.raises(Refused) as met:
            order("Hi.", Provider("hume", configured=False))
        assert (met.value.status, met.value.code) == (503, "provider_unconfigured")

    def test_a_text_that_says_nothing_is_refused(self) -> None:
        with pytest.raises(Refused) as met:
            order("...")
        assert (met.value.status, met.value.code) == (400, "nothing_to_say")

    def test_what_makes_it_sound_otherwise_makes_another_key(self) -> None:
        hume = Provider("hume")
        orders = [
            order("Hello there.", hume),
            order("Hello here.", hume),
            order("Hello there.", hume, speed=1.5),
            order("Hello there.", hume, description="sad"),
            order("Hello there.", hume, emotion=Emotion(name="sad")),
            order("Hello there.", Provider("hume", identity="model-2")),
            order("Hello there.", Provider("openai")),
        ]
        assert len({each.whole_key() for each in orders}) == len(orders)
        assert len({each.segment_key(0, each.providers[0]) for each in orders}) == len(orders)

    def test_the_format_matters_for_the_whole_and_not_for_its_pieces(self) -> None:
        hume = Provider("hume")
        one, other = order("Hello there.", hume, format="mp3"), order("Hello  there.", hume, format="wav")
        assert one.whole_key() != other.whole_key()
        assert one.segment_key(0, hume) == other.segment_key(0, hume)

    def test_a_speed_beyond_a_provider_is_split(self) -> None:
        asked = order("Hi.", Provider("hume", speeds=(0.75, 1.5)), speed=3.0)
        assert asked.provider_speed(asked.providers[0]) == 1.5
