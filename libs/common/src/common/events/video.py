"""Video: what a job of this kind takes and gives."""

from typing import Annotated

from pydantic import Field

from common.events.spec import Payload

VIDEO_KIND = "video"
# Whatever a model allows, and what is rendered here: more would not end within the deadline of a job.
MAX_VIDEO_SECONDS = 30.0
MAX_PROMPT = 3000


class VideoInput(Payload):
    """A clip to be made. `model` names one of the data file; `seed_image` is an asset, or the address of an image.

    `width` and `height` are pixels, `fps` frames a second where the caller chose.
    """

    prompt: Annotated[str, Field(min_length=2, max_length=MAX_PROMPT)]
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT)] | None = None
    model: str
    duration: Annotated[float, Field(gt=0, le=MAX_VIDEO_SECONDS)]
    width: Annotated[int, Field(ge=64, le=4096)]
    height: Annotated[int, Field(ge=64, le=4096)]
    fps: Annotated[int, Field(ge=1, le=60)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    seed_image: str | None = None


class VideoResult(Payload):
    """The clip as it is, which may differ a little from what was asked for; `provider` made it."""

    asset_id: str
    url: str
    content_type: str
    size: int
    sha256: str
    duration: float
    width: int
    height: int
    fps: float
    codec: str
    provider: str
    model: str
    cost_usd: float
    seed: int | None = None
