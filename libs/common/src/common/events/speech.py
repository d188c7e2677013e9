"""Speech: a request to speak a text, the frames of its audio, and exactly one of three facts about how that ended.

The audio goes to the gateway as an answer of a model does: the same frames, the same signals.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.events.backoff import NEVER, PATIENTLY
from common.events.chat import ReplyError
from common.events.media_topics import MEDIA_COMMANDS, MEDIA_EVENTS, MEDIA_QUERIES
from common.events.reply import ReplyBody
from common.events.spec import EventSpec, Payload, RequestSpec, query

# The kind of jobs that speak.
SPEECH_KIND = "speech"
SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]


class VoiceChoice(Payload):
    """Which voice is wanted: one of the four says it. `name` is looked up as any of the others too."""

    id: str | None = None
    name: str | None = None
    content_type: str | None = None


class Emotion(Payload):
    """How it is to sound, from hardly (0) to very much (1)."""

    name: str
    intensity: float = 0.5


class SpeechInput(Payload):
    """A text to be spoken. `speed` 1 is the voice's own; `provider` is to be asked first where it is named."""

    text: str
    voice: VoiceChoice
    emotion: Emotion | None = None
    # What the caller says of the delivery in its own words.
    description: str = ""
    speed: float = 1.0
    format: SpeechFormat = "wav"
    # In hertz; None is the format's own.
    sample_rate: int | None = None
    provider: str | None = None


class SpeechRequested(Payload):
    """Speech is wanted, as a stream of bytes. `received_at` is unix seconds."""

    request_id: str
    org_id: str
    key_id: str
    user_id: str | None = None
    received_at: float
    speech: SpeechInput


class SpeechFileRequested(SpeechRequested):
    """The same speech, whole and kept as an asset."""


class SpeechVoicesRequested(Payload):
    """Which voices can speak for an organisation?"""

    org_id: str


class SpokenVoice(ReplyBody):
    """A voice: `providers` are those that know it, in the order in which they are asked."""

    id: str
    name: str
    source: Literal["built_in", "catalogue"]
    description: str = ""
    content_types: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


class SpokenVoices(ReplyBody):
    """All voices, and the content types that choose among them."""

    voices: tuple[SpokenVoice, ...]
    content_types: dict[str, str]


class SpeechAttempt(Payload):
    """One call to one provider for one piece of the text, with what came of it."""

    provider: str
    segment: int
    outcome: str
    characters: int = 0
    cost_usd: float = 0.0
    status: int | None = None
    error: str | None = None
    # What the provider calls the audio it made.
    reference: str | None = None
    started_at: float
    duration_ms: float


class SpeechCost(Payload):
    """What speech took: pieces of the text, those of them that were kept from before, the calls for the others."""

    provider: str | None = None
    characters: int = 0
    segments: int = 0
    cached_segments: int = 0
    # The whole was kept from before: nothing was made at all.
    cached: bool = False
    cost_usd: float = 0.0
    audio_seconds: float = 0.0
    size: int = 0
    attempts: Annotated[tuple[SpeechAttempt, ...], Field(fail_fast=True)] = ()


class SpeechFile(ReplyBody):
    """Speech as an asset, and what it took."""

    id: str
    object: Literal["speech"] = "speech"
    asset_id: str
    url: str
    content_type: str
    format: SpeechFormat
    voice: str
    provider: str | None = None
    duration_seconds: float
    size: int
    cached: bool
    cost_usd: float
    attempts: tuple[SpeechAttempt, ...] = ()


class SpeechEnded(Payload):
    """What the three ends of a request for speech have in common. Times are unix seconds."""

    request_id: str
    org_id: str
    key_id: str
    user_id: str | None = None
    voice: str | None = None
    format: SpeechFormat
    cost: SpeechCost = SpeechCost()
    received_at: float
    started_at: float
    first_byte_at: float | None = None
    finished_at: float


class SpeechCompleted(SpeechEnded):
    """All of the audio was handed over."""


class SpeechInterrupted(SpeechEnded):
    """The caller left before the end."""

    reason: str


class SpeechFailed(SpeechEnded):
    """No provider spoke the whole text; the client was told so."""

    error: ReplyError


def _request(payload: SpeechRequested | SpeechEnded) -> str:
    return f"{payload.org_id}/{payload.request_id}"


SPEECH_REQUESTED = EventSpec(
    type="speech.requested",
    version=1,
    payload=SpeechRequested,
    topic=MEDIA_COMMANDS,
    key=_request,
    summary="Speak a text; frames with the audio go to the gateway named in reply-to.",
    retry=NEVER,
    ordered=False,
    expires=True,
)
SPEECH_FILE_REQUESTED = RequestSpec(
    type="speech.file.requested",
    version=1,
    payload=SpeechFileRequested,
    reply=SpeechFile,
    topic=MEDIA_COMMANDS,
    key=_request,
    summary="Speak a text and keep it as an asset; the reply names it.",
    retry=NEVER,
    ordered=False,
    expires=True,
)
SPEECH_VOICES_REQUESTED = query(
    type="speech.voices.requested",
    payload=SpeechVoicesRequested,
    reply=SpokenVoices,
    topic=MEDIA_QUERIES,
    key=lambda request: request.org_id,
    summary="List the voices that can speak.",
)
SPEECH_COMPLETED = EventSpec(
    type="speech.completed",
    version=1,
    payload=SpeechCompleted,
    topic=MEDIA_EVENTS,
    key=_request,
    summary="Speech ended with all of its audio handed over.",
    retry=PATIENTLY,
    ordered=False,
)
SPEECH_INTERRUPTED = EventSpec(
    type="speech.interrupted",
    version=1,
    payload=SpeechInterrupted,
    topic=MEDIA_EVENTS,
    key=_request,
    summary="Speech was stopped, since its caller left.",
    retry=PATIENTLY,
    ordered=False,
)
SPEECH_FAILED = EventSpec(
    type="speech.failed",
    version=1,
    payload=SpeechFailed,
    topic=MEDIA_EVENTS,
    key=_request,
    summary="Speech ended in an error; carries every call to a provider.",
    retry=PATIENTLY,
    ordered=False,
)
