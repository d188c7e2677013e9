"""Requests about resources and active sets: who they speak for, which place they mean, what they carry."""

import re
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from common.events.resources import DEFAULT_PROJECT, MAX_TOOLS, Kind, Layer, Pin, Pins, SetScope
from gateway.chat.request import checked_id
from gateway.http.errors import ApiError, bad_request
from gateway.http.fields import Flag, Name, ProjectId, Query, ResourceId, Strict, Version
from gateway.ports import CALLER

USER_HEADER = "x-user-id"
IF_MATCH = "If-Match"
# A revision, and during a rollout its candidate and share.
ETAG = re.compile(r'"((0|[1-9][0-9]{0,9})(?:-[1-9][0-9]{0,9}-[0-9.e+-]{1,24})?)"')
MAX_BODY_BYTES = 1024 * 1024
MAX_PAGE = 1_000_000


# -- who and where --------------------------------------------------------------------------------------------------


def end_user(request: web.Request) -> str:
    """The end user a request speaks for; raises ApiError 401 without one, 400 for an id that cannot be."""
    if USER_HEADER not in request.headers:
        message = f"Which user this is about is missing: send the header '{USER_HEADER}'."
        raise ApiError(401, message, code="user_required", param=USER_HEADER, headers={"www-authenticate": "Bearer"})
    return checked_id(request.headers[USER_HEADER], USER_HEADER)


def any_user(request: web.Request) -> str:
    """The end user, or empty where a request names none."""
    return end_user(request) if USER_HEADER in request.headers else ""


def asked_by(request: web.Request, user_id: str) -> dict[str, str]:
    """The fields of every question and command."""
    caller = request[CALLER]
    return {"org_id": caller.org_id, "key_id": caller.key_id, "user_id": user_id}


def place_of(request: web.Request, layer: Layer, project_id: str | None) -> SetScope:
    """The place a request means; raises ApiError 401 or 400."""
    if layer == "user":
        return SetScope(layer=layer, project_id=project_id or DEFAULT_PROJECT, user_id=end_user(request))
    if layer == "organization" and project_id is not None:
        raise bad_request("Invalid 'projectId': the organization's set is that of no project.", "projectId")
    return SetScope(layer=layer, project_id="" if layer == "organization" else project_id or DEFAULT_PROJECT)


def one_of(query: str | None, body: str | None, param: str) -> str | None:
    """What may stand in the query or in the body; raises ApiError 400 where both differ."""
    if query is not None and body is not None and query != body:
        raise bad_request(f"Invalid '{param}': the query and the body name different ones.", param, "invalid_value")
    return body if query is None else query


def if_match(request: web.Request) -> dict[str, Any]:
    """The fields of a command for what the caller saw last; raises ApiError 400 for any other precondition."""
    given = request.headers.get(IF_MATCH)
    if given is None:
        return {}
    found = ETAG.fullmatch(given.strip())
    if found is None:
        raise bad_request(f"Invalid '{IF_MATCH}': the ETag of the set, such as \"3\".", IF_MATCH, "invalid_value")
    return {"if_match": int(found[2]), "if_etag": found[1]}


# -- active sets ----------------------------------------------------------------------------------------------------


class ToolPin(Strict):
    """A tool of an active set; without a version it follows the latest."""

    tool_id: ResourceId = Field(alias="toolId")
    tool_version: Version | None = Field(default=None, alias="toolVersion")

    def pin(self) -> Pin:
        return Pin(id=self.tool_id, version=self.tool_version)


class ActivePins(Strict):
    """What an active set consists of; whatever has no version follows the latest."""

    config_id: ResourceId = Field(alias="configId")
    config_version: Version | None = Field(default=None, alias="configVersion")
    prompt_id: ResourceId = Field(alias="promptId")
    prompt_version: Version | None = Field(default=None, alias="promptVersion")
    voice_id: ResourceId | None = Field(default=None, alias="voiceId")
    voice_version: Version | None = Field(default=None, alias="voiceVersion")
    tools: Annotated[list[ToolPin], Field(max_length=MAX_TOOLS)] | None = None

    def pins(self) -> Pins:
        """The same as it travels; raises ApiError 400 for a contradiction."""
        tools = tuple(tool.pin() for tool in self.tools or ())
        if len({tool.id for tool in tools}) < len(tools):
            raise bad_request("Invalid 'tools': a tool is named more than once.", "tools", "invalid_value")
        if self.voice_id is None and self.voice_version is not None:
            raise bad_request("Missing 'voiceId' of this 'voiceVersion'.", "voiceId", "missing_required_parameter")
        return Pins(
            config=Pin(id=self.config_id, version=self.config_version),
            prompt=Pin(id=self.prompt_id, version=self.prompt_version),
            voice=None if self.voice_id is None else Pin(id=self.voice_id, version=self.voice_version),
            tools=tools,
        )


class SetActive(ActivePins):
    """Make this the active set. `note` says why, for the history."""

    project_id: ProjectId | None = Field(default=None, alias="projectId")
    note: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class AddTool(ToolPin):
    """Add a tool to the active set, or move its pin."""

    project_id: ProjectId | None = Field(default=None, alias="projectId")


class Rollback(Strict):
    """Which revision's set comes back; without one it is that before the current."""

    revision: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    project_id: ProjectId | None = Field(default=None, alias="projectId")


class Rollout(Strict):
    """How many of the users get the candidate, which is described when the rollout starts.

    0 takes it back from all of them, 100 makes it the set of everybody.
    """

    percent: Annotated[float, Field(ge=0, le=100)]
    candidate: ActivePins | None = None
    project_id: ProjectId | None = Field(default=None, alias="projectId")


class PlaceQuery(Query):
    """Whose active set: a user's in a project, a project's default, or the organisation's default."""

    layer: Layer = "user"
    project_id: ProjectId | None = Field(default=None, alias="projectId")


# -- resources ------------------------------------------------------------------------------------------------------


class Content(BaseModel):
    """A version of a resource in the provider's field names; what is not listed here is checked by its kind.

    `id` says whose new version it is, where the query does not; `name` is for a new resource.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    id: ResourceId | None = None
    name: Name | None = None
    version_description: Annotated[str, Field(max_length=2000)] | None = None


class PromptContent(Content):
    """What a prompt says."""

    text: Annotated[str, Field(min_length=1)]


class ConfigContent(Content):
    """How a voice behaves: the prompt, voice, language model, tools, timeouts and events of its conversations."""

    prompt: dict[str, Any] | None = None
    voice: dict[str, Any] | None = None
    language_model: dict[str, Any] | None = None


class ToolContent(Content):
    """What a model may call; `parameters` is a JSON Schema, as text (which is how it is kept) or as it is."""

    parameters: Annotated[str, Field(min_length=1)] | dict[str, Any]
    description: str | None = None
    fallback_content: str | None = None


class VoiceContent(Content):
    """A voice. At Hume it is made with a `generation_id`, stays version 0 and keeps its name; here it has versions."""


CONTENTS: dict[Kind, type[Content]] = {
    "prompt": PromptContent,
    "config": ConfigContent,
    "tool": ToolContent,
    "voice": VoiceContent,
}


class ReadResources(Query):
    """What to read: a page of all, one by `id` in its latest or a given `version`, its versions, or the active one."""

    id: ResourceId | None = None
    name: Name | None = None
    version: Version | None = None
    versions: Flag = "false"
    active: Flag = "false"
    project_id: ProjectId | None = Field(default=None, alias="projectId")
    page_number: Annotated[int, Field(ge=0, le=MAX_PAGE)] = 0
    page_size: Annotated[int, Field(ge=1, le=100)] = 10

    def check(self) -> None:
        """Raise ApiError 400 where parameters do not go together."""
        narrowing = {"version": self.version is not None, "versions": self.versions == "true"}
        if self.active == "true":
            self._refuse({"id": self.id, "name": self.name, **narrowing}, "with 'active'")
        else:
            self._refuse({"projectId": self.project_id}, "without 'active'")
        if self.id is None:
            self._refuse(narrowing, "without 'id'")
        else:
            self._refuse({"name": self.name, "versions": all(narrowing.values())}, "with 'id' or 'version'")

    def _refuse(self, given: dict[str, Any], why: str) -> None:
        for param, value in given.items():
            if value:
                raise bad_request(f"Invalid '{param}': it cannot be given {why}.", param, "invalid_value")


class CreateResource(Query):
    """Whether what is made or named becomes active, and where."""

    set_active: Flag = Field(default="false", alias="setActive")
    project_id: ProjectId | None = Field(default=None, alias="projectId")


class NameResource(Query):
    """Which resource; the body may say it instead."""

    id: ResourceId | None = None


class DeleteResource(Query):
    """Which resource, and which of its versions: all of them where none is named."""

    id: ResourceId
    version: Version | None = None


class EditResource(Strict):
    """A new name of a resource, or a new description of one of its versions."""

    id: ResourceId | None = None
    name: Name | None = None
    version: Version | None = None
    version_description: Annotated[str, Field(max_length=2000)] | None = None

    def check(self) -> None:
        """Raise ApiError 400 unless it is exactly one of both."""
        describes = self.version is not None or self.version_description is not None
        if describes == (self.name is not None):
            raise bad_request("Give either 'name', or 'version' and 'version_description'.", "name", "invalid_value")
        for param in ("version", "version_description") if describes else ():
            if getattr(self, param) is None:
                raise bad_request(f"Missing '{param}'.", param, "missing_required_parameter")
