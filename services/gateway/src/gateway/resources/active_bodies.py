"""Bodies and queries of requests about active sets."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from common.events.resource_terms import MAX_TOOLS, Layer, Pin, Pins
from gateway.http.errors import bad_request
from gateway.http.fields import MAX_INT, ProjectId, Query, ResourceId, Revision, Strict, Version


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
    tools: Annotated[list[ToolPin], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None

    def pins(self) -> Pins:
        """The same as it travels; raises Refused 400 for a contradiction."""
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

    revision: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None
    project_id: ProjectId | None = Field(default=None, alias="projectId")


class Rollout(Strict):
    """How many of the users get the candidate, which is described when the rollout starts.

    0 takes it back from all of them, 100 makes it the set of everybody.
    """

    percent: Annotated[float, Field(ge=0, le=100)]
    candidate: ActivePins | None = None
    project_id: ProjectId | None = Field(default=None, alias="projectId")


class ScopeQuery(Query):
    """Whose active set: a user's in a project, a project's default, or the organisation's default."""

    layer: Layer = "user"
    project_id: ProjectId | None = Field(default=None, alias="projectId")


class ToolQuery(ScopeQuery):
    """Which tool to remove, and from which set."""

    tool_id: ResourceId = Field(alias="toolId")


class HistoryQuery(ScopeQuery):
    """Which revisions: newest first, behind the revision `before`."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Revision | None = None


class DiffQuery(ScopeQuery):
    """Which two revisions."""

    old: Revision
    new: Revision


class AtQuery(Query):
    """When: RFC 3339, or unix seconds."""

    time: AwareDatetime
    project_id: ProjectId | None = Field(default=None, alias="projectId")
