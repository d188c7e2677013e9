"""Bodies of requests for speech: OpenAI's, and ours with emotions and types of content. Every field is bounded."""

import re
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema, model_validator

from common.events.speech import Emotion, SpeechInput, VoiceChoice
from common.failures import Refused
from gateway.http.fields import Strict, Whole

# About three quarters of an hour; OpenAI takes a tenth of it.
MAX_CHARACTERS = 40_000
MAX_DESCRIPTION = 1_000
# A text this long is made while its caller waits; a longer one is a job.
SHORT_CHARACTERS = 600
MAX_NAME = 200
RATES = {
    "wav": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "pcm": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "flac": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "mp3": (16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "aac": (16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
}
SpokenFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
# Which provider a model's name asks for first; the others follow in their order.
MODELS = {
    "default": None,
    "tts-1": None,
    "tts-1-hd": None,
    "gpt-4o-mini-tts": None,
    "hume": "hume",
    "octave": "hume",
    "octave-2": "hume",
    "openai": "openai",
    "local": "local",
}
_DATED = re.compile(r"-20\d\d-\d\d-\d\d$")
_MARKUP = re.compile(r"\s*(<\?xml[^>]*>\s*)?<speak[\s>]", re.IGNORECASE)
# What a text may hold beside what is read: a line may end, a word be joined or parted.
_HARMLESS = frozenset("\n\r\t\u200c\u200d\u200e\u200f\u00ad\ufeff\u2028\u2029")


def _sayable(text: str) -> str:
    """A text without control characters, and with something in it to say."""
    if _MARKUP.match(text):
        raise ValueError("markup (SSML) is not read: send plain text, and say in words how it is to sound")
    for character in text:
        if character not in _HARMLESS and unicodedata.category(character) in ("Cc", "Cs", "Cn"):
            raise ValueError(f"the character U+{ord(character):04X} cannot be said")
    if not any(character.isalnum() for character in text):
        raise ValueError("there is nothing in it that can be said")
    return text


def _plain(text: str) -> str:
    """A line of instructions: nothing in it but what is read."""
    for character in text:
        if character not in _HARMLESS and unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError(f"the character U+{ord(character):04X} does not belong there")
    return text


Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS), AfterValidator(_sayable)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION), AfterValidator(_plain)]
VoiceName = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_plain)]
Speed = Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)]
Rate = Annotated[int, Whole]


class NamedVoice(Strict):
    """A voice by one of these."""

    id: VoiceName | None = None
    name: VoiceName | None = None
    content_type: VoiceName | None = None

    @model_validator(mode="before")
    @classmethod
    def _one(cls, given: Any) -> Any:
        """A text is a name."""
        if isinstance(given, str):
            return {"name": given}
        if isinstance(given, dict) and sum(given.get(each) is not None for each in cls.model_fields) != 1:
            raise ValueError("name the voice by exactly one of id, name and content_type")
        return given


class EmotionBody(Strict):
    """How it is to sound, from hardly (0) to very much (1)."""

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\W\d_][\w' -]*$")]
    intensity: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.5

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        """A text is the name of one."""
        return {"name": given} if isinstance(given, str) else given


def _or_text(model: type[BaseModel]) -> Any:
    """The schema of a body that may be a text in place of an object."""
    return WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, model.model_json_schema()]})


VoiceField = Annotated[NamedVoice, _or_text(NamedVoice)]
EmotionField = Annotated[EmotionBody, _or_text(EmotionBody)]


class OpenAiSpeechBody(Strict):
    """Body of `POST /v1/audio/speech`, as OpenAI has it. What it does not know it refuses."""

    model: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    input: Text
    voice: VoiceField
    instructions: Description | None = None
    response_format: SpokenFormat | None = None
    speed: Speed | None = None
    stream_format: Literal["audio", "sse"] | None = None

    def to_input(self) -> SpeechInput:
        """What media is asked for. Raises Refused 404 for a model that is not there."""
        return SpeechInput(
            text=self.input,
            voice=_choice(self.voice),
            description=self.instructions or "",
            speed=1.0 if self.speed is None else float(self.speed),
            format=self.response_format or "mp3",
            provider=provider_of(self.model),
        )


class SpeechBody(Strict):
    """Body of `POST /v1/media/speech`. A long text is a job, as is any with `background`."""

    text: Text
    voice: VoiceField = NamedVoice(name="default")
    emotion: EmotionField | None = None
    description: Description | None = None
    speed: Speed = 1.0
    format: SpokenFormat = "wav"
    sample_rate: Rate | None = None
    model: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] = "default"
    background: bool = False

    @model_validator(mode="after")
    def _has_rate(self) -> "SpeechBody":
        rates = RATES[self.format]
        if self.sample_rate is not None and self.sample_rate not in rates:
            raise ValueError(f"a sample_rate of {self.format} is one of {', '.join(map(str, rates))}")
        return self

    @property
    def long(self) -> bool:
        """Whether its caller is not to wait."""
        return self.background or len(self.text) > SHORT_CHARACTERS

    def to_input(self) -> SpeechInput:
        """What media is asked for. Raises Refused 404 for a model that is not there."""
        return SpeechInput(
            text=self.text,
            voice=_choice(self.voice),
            emotion=_emotion(self.emotion),
            description=self.description or "",
            speed=float(self.speed),
            format=self.format,
            sample_rate=self.sample_rate,
            provider=provider_of(self.model),
        )


def provider_of(model: str) -> str | None:
    """Who is asked first for this model; None for the configured order. Raises Refused 404."""
    name = _DATED.sub("", model.strip().lower())
    if name not in MODELS:
        message = f"The model {model!r} does not exist; for speech there are {', '.join(MODELS)}."
        raise Refused(404, message, "model_not_found", "model")
    return MODELS[name]


def _choice(voice: NamedVoice) -> VoiceChoice:
    return VoiceChoice(id=voice.id, name=voice.name, content_type=voice.content_type)


def _emotion(given: EmotionBody | None) -> Emotion | None:
    return None if given is None else Emotion(name=given.name, intensity=given.intensity)
