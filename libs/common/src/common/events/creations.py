"""Creations: films made of a prompt, with narration, captions and everything that belongs to them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from common.events.flows import CONTENT_CREATION
from common.events.spec import Payload
from common.events.speech import VoiceChoice
from common.events.video import MAX_PROMPT, MAX_VIDEO_SECONDS

CREATION_KIND = CONTENT_CREATION.kind
MAX_SCENES = 6
MAX_SAID = 600
PROJECT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
Aspect = Literal["16:9", "9:16", "1:1"]
TemplateName = Literal["plain", "explainer", "teaser"]


class Scene(Payload):
    """A part of a film: what is said in it, and what is seen."""

    say: Annotated[str, Field(min_length=1, max_length=MAX_SAID)]
    show: Annotated[str, Field(min_length=2, max_length=MAX_PROMPT)]


class Script(Payload):
    """A film in words, and who wrote it: `caller`, `template <name>`, or the name of a model."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    scenes: Annotated[tuple[Scene, ...], Field(min_length=1, max_length=MAX_SCENES)]
    by: str = "caller"


class FilmWish(Payload):
    """How clips are asked for: a model, seconds of each clip, pixels."""

    model: str
    duration: Annotated[float, Field(gt=0, le=MAX_VIDEO_SECONDS)]
    width: Annotated[int, Field(ge=64, le=4096)]
    height: Annotated[int, Field(ge=64, le=4096)]


class CreationInput(Payload):
    """A film to be made. `script` is the caller's own; else a model writes one (`written`), or the template is filled.

    `voice_provider` is asked first where it is named. What is made joins the items of `project`.
    """

    prompt: Annotated[str, Field(min_length=2, max_length=MAX_PROMPT)]
    template: TemplateName = "plain"
    written: bool = False
    script: Script | None = None
    title: Annotated[str, Field(max_length=200)] = ""
    voice: VoiceChoice = VoiceChoice(name="default")
    instructions: Annotated[str, Field(max_length=1000)] = ""
    voice_provider: str | None = None
    aspect: Aspect = "16:9"
    film: FilmWish
    project: Annotated[str, Field(pattern=PROJECT)] = "default"


class CaptionLine(Payload):
    """A sentence, and when it is said, in seconds of the film."""

    begin: float
    end: float
    text: str


class MadeBy(Payload):
    """Who made a part, and whether somebody else was asked before."""

    part: str
    provider: str
    fallback: bool


class CreationResult(Payload):
    """The package: the film with sound and captions, the captions as a file of their own, pictures, and what it took.

    `metadata` is what the film is; `analyses` what was found in its clips, `clusters` what of it is alike in the
    project. `package_url` leads to all of this as one JSON document.
    """

    asset_id: str
    url: str
    captions_asset_id: str
    captions_url: str
    thumbnails: tuple[str, ...]
    package_url: str
    script: Script
    captions: tuple[CaptionLine, ...]
    duration: float
    width: int
    height: int
    loudness: float
    made_by: tuple[MadeBy, ...]
    fallbacks: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    analyses: tuple[str, ...] = ()
    clusters: tuple[Mapping[str, Any], ...] = ()
    embeddings: Mapping[str, Any] = Field(default_factory=dict)
    cost_usd: float
    warnings: tuple[str, ...] = ()
