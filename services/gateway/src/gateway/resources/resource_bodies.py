"""Bodies and queries of requests about prompts, configs, tools and voices."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from common.events.resource_terms import Kind
from gateway.http.errors import bad_request
from gateway.http.fields import Flag, Name, ProjectId, Query, ResourceId, Strict, Version

MAX_PAGE = 1_000_000


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


class ToolRunContent(BaseModel):
    """How Sonant runs a tool: one of its own by name (`builtin`), or a server at `url`, whose calls `secret` signs.

    The secret is sealed before it is kept, and is shown so; it may be given back as it is shown.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    builtin: Name | None = None
    url: Annotated[str, Field(max_length=2000)] | None = None
    secret: Annotated[str, Field(min_length=8, max_length=2000)] | None = None


class ToolContent(Content):
    """What a model may call; `parameters` is a JSON Schema, as text (which is how it is kept) or as it is.

    With `run` Sonant runs it; without, its calls go to the caller.
    """

    parameters: Annotated[str, Field(min_length=1)] | dict[str, Any]
    description: str | None = None
    fallback_content: str | None = None
    run: ToolRunContent | None = None


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
    versions: Flag = False
    active: Flag = False
    project_id: ProjectId | None = Field(default=None, alias="projectId")
    page_number: Annotated[int, Field(ge=0, le=MAX_PAGE)] = 0
    page_size: Annotated[int, Field(ge=1, le=100)] = 10

    def check(self) -> None:
        """Raise Refused 400 where parameters do not go together."""
        narrowing = {"version": self.version is not None, "versions": self.versions}
        if self.active:
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

    set_active: Flag = Field(default=False, alias="setActive")
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
        """Raise Refused 400 unless it is exactly one of both."""
        describes = self.version is not None or self.version_description is not None
        if describes == (self.name is not None):
            raise bad_request("Give either 'name', or 'version' and 'version_description'.", "name", "invalid_value")
        for param in ("version", "version_description") if describes else ():
            if getattr(self, param) is None:
                raise bad_request(f"Missing '{param}'.", param, "missing_required_parameter")
