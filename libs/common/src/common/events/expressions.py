"""Expression measurement: what a job of this kind takes and gives."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from common.events.assets import ASSET_ID
from common.events.spec import Payload

EXPRESSIONS_KIND = "expressions"
MAX_URL = 8192
# What may be asked for: the providers' models, and what is measured here without one.
ExpressionModel = Literal["face", "prosody", "burst", "language", "voice", "pauses"]


class ExpressionsInput(Payload):
    """A file to be measured: an asset, or whatever is at an address.

    `models` empty is what the first provider has for such a file. `interval` is seconds between measurements of a
    voice, `frames_per_second` how many pictures of a video are looked at.
    """

    asset_id: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)] | None = None
    models: tuple[ExpressionModel, ...] = ()
    interval: Annotated[float, Field(ge=3, le=10)] = 5.0
    frames_per_second: Annotated[float, Field(gt=0, le=5)] = 1.0


class ExpressionsResult(Payload):
    """What was found in short; `asset_id` is the whole: time series per model and per face or speaker, as JSON.

    `models` has each model with its tracks: how many samples, from when to when in seconds, and the highest means.
    `missing` are models that did not measure, with the reason; `names` maps the providers' names to common ones.
    """

    asset_id: str
    url: str
    size: int
    providers: tuple[str, ...]
    media: Mapping[str, Any]
    models: tuple[Mapping[str, Any], ...]
    missing: tuple[Mapping[str, str], ...]
    names: Mapping[str, Mapping[str, str]]
    warnings: tuple[str, ...]
    cost_usd: float
