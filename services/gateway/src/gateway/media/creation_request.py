"""Films of prompts asked for: checked against the templates, the voices' names and the model that makes the clips."""

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from common.events.creations import (
    CREATION_KIND,
    MAX_SAID,
    MAX_SCENES,
    PROJECT,
    Aspect,
    CreationInput,
    FilmWish,
    Scene,
    Script,
)
from common.events.speech import VoiceChoice
from common.events.video import MAX_PROMPT, MAX_VIDEO_SECONDS
from gateway.http.body import read_json
from gateway.http.errors import bad_request
from gateway.http.fields import Strict
from gateway.http.validation import validate
from gateway.media.jobs import accept
from gateway.media.speech_bodies import Description, NamedVoice
from gateway.media.video_models import VideoModel, video_models

MAX_BODY_BYTES = 64 * 1024

SHAPES: dict[Aspect, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
PLAIN = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


class SceneBody(Strict):
    """A part of the film: what is said in it, and what is seen."""

    say: Annotated[str, Field(min_length=1, max_length=MAX_SAID, pattern=PLAIN)]
    show: Annotated[str, Field(min_length=2, max_length=MAX_PROMPT, pattern=PLAIN)]


class ScriptBody(Strict):
    """A script of your own."""

    title: Annotated[str, Field(min_length=1, max_length=200, pattern=PLAIN)]
    scenes: Annotated[list[SceneBody], Field(min_length=1, max_length=MAX_SCENES, fail_fast=True)]


class CreationBody(Strict):
    """A film to be made of a prompt: narrated, captioned, analysed and packed.

    The script is the `template`'s (`plain`, `explainer`, `teaser`), or a model's (`script`: where none is configured,
    `plain` steps in and the result says so), or your own in `script`. `voice` is a name, or an object as for speech;
    `model` makes the clips, each `duration` seconds long.
    """

    prompt: Annotated[str, Field(min_length=2, max_length=MAX_PROMPT, pattern=PLAIN)]
    template: Literal["plain", "explainer", "teaser", "script"] = "plain"
    script: ScriptBody | None = None
    title: Annotated[str, Field(max_length=200, pattern=PLAIN)] = ""
    voice: NamedVoice | None = None
    instructions: Description = ""
    aspect: Aspect = "16:9"
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    duration: Annotated[float, Field(gt=0, le=MAX_VIDEO_SECONDS)] | None = None
    resolution: Annotated[str, Field(min_length=1, max_length=20)] | None = None
    project: Annotated[str, Field(pattern=PROJECT)] = "default"

    def wanted(self) -> CreationInput:
        """What the job gets. Raises Refused (400) for what the model does not take."""
        if not any(letter.isalnum() for letter in self.prompt):
            raise bad_request("Invalid 'prompt': it says nothing.", "prompt", "invalid_value")
        model = video_models().get(self.model)
        width, height = _size(model, self.aspect, self.resolution)
        voice = VoiceChoice(name="default") if self.voice is None else VoiceChoice(**self.voice.model_dump())
        return CreationInput(
            prompt=self.prompt,
            template="plain" if self.template == "script" else self.template,
            written=self.template == "script",
            script=self._script(),
            title=self.title,
            voice=voice,
            instructions=self.instructions,
            aspect=self.aspect,
            film=FilmWish(model=model.id, duration=model.duration(self.duration), width=width, height=height),
            project=self.project,
        )

    def _script(self) -> Script | None:
        if self.script is None:
            return None
        scenes = tuple(Scene(say=scene.say, show=scene.show) for scene in self.script.scenes)
        return Script(title=self.script.title, scenes=scenes)


def _size(model: VideoModel, aspect: Aspect, resolution: str | None) -> tuple[int, int]:
    """Width and height: the size of a resolution whose shape is nearest to the aspect."""
    if resolution is None:
        resolution = next(iter(model.sizes))
    if resolution not in model.sizes:
        return model.size(resolution, None, None)
    return min(model.sizes[resolution], key=lambda size: abs(size[0] / size[1] - SHAPES[aspect]))


async def create_content(request: web.Request) -> web.Response:
    """`POST /v1/media/content`."""
    body = validate(CreationBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    return await accept(request, CREATION_KIND, body.wanted())
