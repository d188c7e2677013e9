"""What the service resources replies: resources, active sets and their past, audit entries, documents."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, RootModel

from common.events.reply import ReplyBody
from common.events.resource_terms import Kind, Layer, Pin, Pins, SetScope

Status = Literal["usable", "quarantined", "disabled"]

# -- resources -------------------------------------------------------------------------------------------------


class Resource(ReplyBody):
    """A version of a resource, in the provider's field names. Times are unix milliseconds.

    What a kind adds (`text`, `parameters`, `language_model`, ...) is kept as it is. `status` is there where it is not
    `usable`, `provenance` where a tool was drafted.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    version: int
    version_type: str
    version_description: str
    created_on: int
    modified_on: int
    status: Status = "usable"
    provenance: dict[str, Any] | None = None


class PromptReply(ReplyBody):
    """A prompt."""

    prompt: Resource


class ConfigReply(ReplyBody):
    """A config."""

    config: Resource


class ToolReply(ReplyBody):
    """A tool; a drafted one has a `status` and its `provenance`."""

    tool: Resource


class VoiceReply(ReplyBody):
    """A voice."""

    voice: Resource


class ResourceReply(RootModel[PromptReply | ConfigReply | ToolReply | VoiceReply]):
    """A resource under the name of its kind."""

    model_config = ConfigDict(frozen=True)


class Page(ReplyBody):
    """Where in all of them this page is; pages count from 0."""

    page_number: int
    page_size: int
    total_pages: int


class PromptPage(Page):
    """Some prompts."""

    prompts: tuple[Resource, ...]


class ConfigPage(Page):
    """Some configs."""

    configs: tuple[Resource, ...]


class ToolPage(Page):
    """Some tools."""

    tools: tuple[Resource, ...]


class VoicePage(Page):
    """Some voices."""

    voices: tuple[Resource, ...]


class ResourcePage(RootModel[PromptPage | ConfigPage | ToolPage | VoicePage]):
    """Some resources under the plural of their kind."""

    model_config = ConfigDict(frozen=True)


# The one shape of each kind, of which the replies above are the unions.
RESOURCE_REPLIES: Mapping[Kind, type[PromptReply | ConfigReply | ToolReply | VoiceReply]] = {
    "prompt": PromptReply,
    "config": ConfigReply,
    "tool": ToolReply,
    "voice": VoiceReply,
}
RESOURCE_PAGES: Mapping[Kind, type[PromptPage | ConfigPage | ToolPage | VoicePage]] = {
    "prompt": PromptPage,
    "config": ConfigPage,
    "tool": ToolPage,
    "voice": VoicePage,
}


class ResourceDeleted(ReplyBody):
    """What is gone: one version, or with null the resource."""

    id: str
    version: int | None
    deleted: Literal[True]


class SkippedResource(ReplyBody):
    """What could not be copied and why: the code of a refusal; `version` is there for a `version_conflict`."""

    id: str
    name: str
    version: int | None = None
    reason: str


class ResourcesImported(ReplyBody):
    """What was copied of a page of the provider's resources; `known` counts those that were here before."""

    resources: int
    versions: int
    known: int
    skipped: tuple[SkippedResource, ...]
    more: bool


# -- active sets -----------------------------------------------------------------------------------------------


class SetPin(Pin):
    """A resource in an active set; `version` null follows the latest."""

    version: int | None


class SetPins(Pins):
    """What an active set consists of, by ids and versions."""

    config: SetPin
    prompt: SetPin
    voice: SetPin | None
    tools: tuple[SetPin, ...]


class ActiveSet(ReplyBody):
    """An active set with its whole resources, less tools that are not usable.

    `candidate` says whether this is the set of a rollout, which `percent` of the users get.
    """

    place: SetScope
    layer: Layer
    revision: int = Field(ge=1)
    candidate: bool
    candidate_revision: int | None
    percent: float
    clock: int
    config: Resource
    prompt: Resource
    voice: Resource | None
    tools: tuple[Resource, ...]
    pins: SetPins


class ActiveCleared(ReplyBody):
    """There is no set here any more: the next layer's applies."""

    revision: None


class ActiveEntries(ReplyBody):
    """The scopes that apply to a user as they are cached, in the order of the layers (see `entries.Entry`)."""

    entries: tuple[str, ...]


class ActiveRevision(ReplyBody):
    """One revision of a set. `created_on` is in unix milliseconds; `restored` is what a rollback went back to."""

    revision: int
    pins: SetPins
    note: str
    origin: Literal["switch", "tool", "rollback", "rollout"]
    restored: int | None
    key_id: str
    user_id: str
    created_on: int


class ActiveStep(ReplyBody):
    """What was live from a moment (`on`, unix milliseconds) to the next step; `revision` null is nothing."""

    revision: int | None
    candidate: int | None
    percent: float
    on: int


class ActiveHistory(ReplyBody):
    """Revisions of a set, newest first, and what is live now.

    `steps` are the changes of what was live since the oldest of these revisions, newest first.
    """

    object: Literal["list"]
    data: tuple[ActiveRevision, ...]
    has_more: bool
    steps: tuple[ActiveStep, ...]
    current: int | None
    candidate: int | None
    percent: float


class NamedPin(SetPin):
    """A resource in a revision; `name` is null where it is gone."""

    name: str | None


class PinChange(ReplyBody):
    """What became of one slot of a set; one that `moved` has another version of the same resource."""

    slot: Kind
    change: Literal["added", "removed", "replaced", "moved"]
    old: NamedPin | None
    new: NamedPin | None


class ActiveDiff(ReplyBody):
    """What differs between two revisions; `prompt_text` is a unified diff, null where the text is the same or gone."""

    old: int
    new: int
    changes: tuple[PinChange, ...]
    prompt_text: str | None


class PinnedThen(ReplyBody):
    """A resource in a set of the past with the version it had then, null where that is not known any more."""

    kind: Kind
    id: str
    version: int | None
    follows_latest: bool


class ActiveAt(ReplyBody):
    """What was live for a user at `time` (unix seconds), and since when (unix milliseconds)."""

    place: SetScope
    layer: Layer
    time: float
    since: int
    revision: int
    candidate: bool
    percent: float
    pins: SetPins
    versions: tuple[PinnedThen, ...]


# -- a project as one document ---------------------------------------------------------------------------------


class ExportedVersion(ReplyBody):
    """A version of an exported resource. Times are unix milliseconds."""

    version: int
    version_description: str
    created_on: int
    modified_on: int
    content: dict[str, Any]


class ExportedResource(ReplyBody):
    """An exported resource with all its versions, oldest first; `provenance` is there for a drafted tool."""

    kind: Kind
    id: str
    name: str
    status: Status
    provenance: dict[str, Any] | None = None
    versions: tuple[ExportedVersion, ...]


class ExportedSet(ReplyBody):
    """The set of the project (`user_id` empty) or of a user; `candidate` and `percent` are there during a rollout."""

    user_id: str
    pins: SetPins
    candidate: SetPins | None = None
    percent: float = 0.0


class ProjectDocument(ReplyBody):
    """A project: its active sets, and every version of the resources in them."""

    format: Literal["sonant.project/1"]
    project_id: str
    resources: tuple[ExportedResource, ...]
    places: tuple[ExportedSet, ...]


class ProjectImported(ReplyBody):
    """How many resources, versions and active sets were new or changed."""

    resources: int
    versions: int
    places: int


# -- beside them -----------------------------------------------------------------------------------------------


class AuditEntry(ReplyBody):
    """One write. Digests are SHA-256 of the state before and after; null is no state. `at` is unix seconds."""

    id: int
    key_id: str
    user_id: str
    action: str
    target: str
    before: str | None
    after: str | None
    event_id: str
    at: float


class AuditList(ReplyBody):
    """A page of entries, newest first."""

    object: Literal["list"]
    data: tuple[AuditEntry, ...]
    has_more: bool


class AccessToken(ReplyBody):
    """A short-lived token, never the key it was got with. `expiresAt` is in unix seconds."""

    model_config = ConfigDict(validate_by_name=True)

    access_token: str = Field(alias="accessToken")
    expires_at: int = Field(alias="expiresAt")
