"""Expression measurement asked for: of an asset, of a URL, or of the file in the body."""

from typing import Annotated, Self

from aiohttp import web
from pydantic import Field, model_validator

from common.events.assets import ASSET_ID, new_asset_id
from common.events.expressions import EXPRESSIONS_KIND, MAX_URL, ExpressionModel, ExpressionsInput
from gateway.http.body import read_json
from gateway.http.fields import Query, Strict
from gateway.http.validation import read_query, validate
from gateway.media.jobs import accept
from gateway.media.uploaded_input import UploadedInput, accept_upload

MAX_BODY_BYTES = 64 * 1024
MAX_MODELS = 6
JSON = "application/json"


class ExpressionsBody(Strict):
    """What is to be measured: `asset_id` or `url`, one of them."""

    asset_id: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL, pattern=r"^https?://[^\x00-\x20]+$")] | None = None
    models: Annotated[list[ExpressionModel], Field(default_factory=list, max_length=MAX_MODELS, fail_fast=True)]
    interval: Annotated[float, Field(ge=3, le=10)] = 5.0
    frames_per_second: Annotated[float, Field(gt=0, le=5)] = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.asset_id is None) is (self.url is None):
            raise ValueError("either 'asset_id' or 'url' is needed")
        return self


class ExpressionsQuery(Query):
    """The same for a file in the body; `models` are separated by commas."""

    name: Annotated[str, Field(max_length=1000)] = ""
    models: Annotated[str, Field(max_length=200)] = ""
    interval: Annotated[float, Field(ge=3, le=10)] = 5.0
    frames_per_second: Annotated[float, Field(gt=0, le=5)] = 1.0

    def wanted(self) -> ExpressionsBody:
        """What a body would say; raises Refused 400 for a model that is not known."""
        models = [model.strip() for model in self.models.split(",") if model.strip()]
        rest = {"interval": self.interval, "frames_per_second": self.frames_per_second}
        # Any asset: which one it is, is known once it is there.
        return validate(ExpressionsBody, {"asset_id": new_asset_id(), "models": models, **rest})


async def create_expressions(request: web.Request) -> web.Response:
    """`POST /v1/media/expressions`: JSON that names a file, or the file itself."""
    query = read_query(request, ExpressionsQuery)
    if request.content_type == JSON:
        body = validate(ExpressionsBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
        return await accept(request, EXPRESSIONS_KIND, _input(body))
    wanted = query.wanted()

    def of_asset(asset_id: str) -> ExpressionsInput:
        return _input(wanted.model_copy(update={"asset_id": asset_id}))

    upload = UploadedInput(query.name, query.model_dump_json(), lambda asset_id, name: of_asset(asset_id))
    return await accept_upload(request, EXPRESSIONS_KIND, upload)


def _input(body: ExpressionsBody) -> ExpressionsInput:
    return ExpressionsInput(
        asset_id=body.asset_id,
        url=body.url,
        models=tuple(dict.fromkeys(body.models)),
        interval=body.interval,
        frames_per_second=body.frames_per_second,
    )
