"""Content analysis asked for: of an asset, of a URL, or of the file in the body."""

import uuid
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field, model_validator

from common.events.analyses import ANALYSIS_KIND, MAX_TITLE, MAX_URL, AnalysisInput, AnalysisStepName
from common.events.assets import ASSET_ID, new_asset_id
from gateway.http.body import read_json
from gateway.http.fields import ProjectId, Query, Strict
from gateway.http.validation import read_query, validate
from gateway.media.jobs import accept
from gateway.media.uploaded_file import UploadName, with_upload

MAX_BODY_BYTES = 64 * 1024
MAX_STEPS = 8
JSON = "application/json"
# Names the assets that idempotency keys stand for.
UPLOADS = uuid.UUID("0d1b6f5e-7c2a-4d38-9f4e-5a8b2c6d9e10")

Title = Annotated[str, Field(max_length=MAX_TITLE, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ProcessBody(Strict):
    """What is to be analysed: `asset_id` or `url`, one of them. Without `steps`, all that apply."""

    asset_id: Annotated[str, Field(pattern=rf"^{ASSET_ID}$")] | None = None
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL, pattern=r"^https?://[^\x00-\x20]+$")] | None = None
    project: ProjectId = "default"
    title: Title = ""
    steps: Annotated[list[AnalysisStepName], Field(default_factory=list, max_length=MAX_STEPS, fail_fast=True)]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.asset_id is None) is (self.url is None):
            raise ValueError("either 'asset_id' or 'url' is needed")
        return self


class ProcessQuery(Query):
    """The same for a file in the body; `steps` are separated by commas."""

    name: Annotated[str, Field(max_length=1000)] = ""
    project: ProjectId = "default"
    title: Title = ""
    steps: Annotated[str, Field(max_length=200)] = ""

    def wanted(self) -> ProcessBody:
        """What a body would say; raises Refused 400 for a step that is not known."""
        steps = [step.strip() for step in self.steps.split(",") if step.strip()]
        # Any asset: which one it is, is known once it is there.
        rest = {"project": self.project, "title": self.title, "steps": steps}
        return validate(ProcessBody, {"asset_id": new_asset_id(), **rest})


async def process_content(request: web.Request) -> web.Response:
    """`POST /v1/media/process`: JSON that names a file, or the file itself."""
    query = read_query(request, ProcessQuery)
    if request.content_type == JSON:
        body = validate(ProcessBody, await read_json(request, max_bytes=MAX_BODY_BYTES))
        return await accept(request, ANALYSIS_KIND, _input(body))
    return await _of_upload(request, query)


async def _of_upload(request: web.Request, query: ProcessQuery) -> web.Response:
    wanted, same = query.wanted(), query.model_dump_json()

    async def begin(asset_id: str, _: str) -> web.Response:
        return await accept(request, ANALYSIS_KIND, _input(wanted.model_copy(update={"asset_id": asset_id})))

    return await with_upload(request, UploadName(UPLOADS, query.name, same), begin)


def _input(body: ProcessBody) -> AnalysisInput:
    return AnalysisInput(
        asset_id=body.asset_id,
        url=body.url,
        project=body.project,
        title=body.title,
        steps=tuple(dict.fromkeys(body.steps)),
    )
