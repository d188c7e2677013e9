"""Videos asked for: what a body may hold."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from common.events.video import MAX_PROMPT, MAX_VIDEO_SECONDS, VIDEO_KIND, VideoInput
from gateway.http.body import read_json
from gateway.http.fields import Strict, Whole
from gateway.http.validation import validate
from gateway.media.jobs import accept

MAX_BODY_BYTES = 64 * 1024


class VideoBody(Strict):
    """A clip to be made."""

    prompt: Annotated[str, Field(min_length=2, max_length=MAX_PROMPT)]
    model: Annotated[str, Field(min_length=1, max_length=200)] = "klingai:6@1"
    duration: Annotated[float, Field(gt=0, le=MAX_VIDEO_SECONDS)] = 5.0
    width: Annotated[int, Field(ge=64, le=4096), Whole] = 1280
    height: Annotated[int, Field(ge=64, le=4096), Whole] = 720


async def create_video(request: web.Request) -> web.Response:
    """`POST /v1/media/video`."""
    body = validate(VideoBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
    wanted = VideoInput(
        prompt=body.prompt, model=body.model, duration=body.duration, width=body.width, height=body.height
    )
    return await accept(request, VIDEO_KIND, wanted)
