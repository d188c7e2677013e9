"""Videos asked for: what a body may hold, checked against what the model takes."""

import re
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from common.events.video import MAX_PROMPT, MAX_VIDEO_SECONDS, VIDEO_KIND, VideoInput
from common.failures import Refused
from common.providers.addresses import AddressRules
from common.providers.urls import allowed_url
from gateway.http.body import read_json
from gateway.http.errors import bad_request
from gateway.http.fields import Strict, Whole
from gateway.http.validation import validate
from gateway.media.jobs import accept
from gateway.media.video_models import Steps, VideoModel, video_models

MAX_BODY_BYTES = 64 * 1024
MAX_URL = 8192
ASSET_ID = re.compile(r"ast_[0-9a-f]{32}")
# JavaScript's numbers hold no larger ones exactly.
MAX_SEED = 2**53 - 1

Side = Annotated[int, Field(ge=1, le=8192), Whole]


class VideoBody(Strict):
    """A clip to be made: `resolution` is `720p` or `1280x720`, or both `width` and `height` are given.

    `seed_image` is the picture that it begins with: the id of an asset, or an address.
    """

    prompt: Annotated[str, Field(min_length=2, max_length=MAX_PROMPT)]
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    duration: Annotated[float, Field(gt=0, le=MAX_VIDEO_SECONDS)] | None = None
    resolution: Annotated[str, Field(min_length=1, max_length=20)] | None = None
    width: Side | None = None
    height: Side | None = None
    fps: Annotated[int, Field(ge=1, le=120), Whole] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), Whole] | None = None
    seed_image: Annotated[str, Field(min_length=1, max_length=MAX_URL)] | None = None

    def wanted(self) -> VideoInput:
        """What the job gets. Raises Refused (400) for what the model does not take."""
        model = video_models().get(self.model)
        width, height = model.size(self.resolution, self.width, self.height)
        if not self.prompt.strip():
            raise bad_request("Invalid 'prompt': it says nothing.", "prompt", "invalid_value")
        return VideoInput(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            model=model.id,
            duration=model.duration(self.duration),
            width=width,
            height=height,
            fps=model.rate(self.fps),
            seed=self.seed,
            seed_image=_checked_image(self.seed_image, model),
        )


def _checked_image(given: str | None, model: VideoModel) -> str | None:
    if given is None or ASSET_ID.fullmatch(given):
        if given is not None and not model.seed_image:
            raise bad_request(f"Invalid 'seed_image': {model.id} takes none.", "seed_image", "invalid_value")
        return given
    try:
        allowed_url(given, AddressRules())
    except Refused as refused:
        raise bad_request(f"Invalid 'seed_image': {refused.message}", "seed_image", refused.code) from None
    return given


async def create_video(request: web.Request) -> web.Response:
    """`POST /v1/media/video`."""
    body = validate(VideoBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    return await accept(request, VIDEO_KIND, body.wanted())


class VideoModelView(BaseModel):
    """A model that makes videos; `durations` are all that are allowed, or `min`, `max` and `step`."""

    id: str
    object: Literal["video_model"]
    name: str
    default: bool
    durations: list[float] | dict[str, float]
    sizes: dict[str, list[str]]
    fps: list[int]
    seed_image: bool


class VideoModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[VideoModelView]


async def list_video_models(request: web.Request) -> web.Response:
    """`GET /v1/media/video/models`."""
    known = video_models()
    views = [_view(model, default=model.id == known.default) for model in known.models.values()]
    body = VideoModelList(object="list", data=views)
    return web.Response(body=body.model_dump_json().encode(), content_type="application/json")


def _view(model: VideoModel, *, default: bool) -> VideoModelView:
    durations = model.durations
    shown: list[float] | dict[str, float] = (
        {"min": durations.first, "max": durations.last, "step": durations.step}
        if isinstance(durations, Steps)
        else list(durations)
    )
    return VideoModelView(
        id=model.id,
        object="video_model",
        name=model.name,
        default=default,
        durations=shown,
        sizes={name: [f"{width}x{height}" for width, height in sizes] for name, sizes in model.sizes.items()},
        fps=list(model.fps),
        seed_image=model.seed_image,
    )
