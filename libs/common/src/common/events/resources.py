"""Resources: versioned prompts, configs, tools and voices, and the active set of a user and project."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from common.events import resource_replies as replies
from common.events.backoff import A_FEW_TIMES, PATIENTLY
from common.events.resource_terms import Kind, Pin, Pins, SetScope
from common.events.spec import EventSpec, Payload, R, RequestSpec, Topic, query

RESOURCE_COMMANDS = Topic("resource-commands")
RESOURCE_QUERIES = Topic("resource-queries")
RESOURCE_EVENTS = Topic("resource-events")


class ResourceRequest(Payload):
    """Who asks: the organisation and key of the caller, and the end user it acts for."""

    org_id: str
    key_id: str
    user_id: str


# -- commands: they change something, and answer with the result ----------------------------------------------


class ResourceCreateRequested(ResourceRequest):
    """A new resource with its version 0, answered with 201.

    `activate` names the set it goes into in the same step; the answer is the resource all the same.
    """

    kind: Kind
    body: dict[str, Any]
    activate: SetScope | None = None


class ResourceVersionRequested(ResourceRequest):
    """A new version of a resource, answered with the resource."""

    kind: Kind
    id: str
    body: dict[str, Any]


class ResourceEditRequested(ResourceRequest):
    """A new name for a resource, or a new description of one of its versions; one of them is given."""

    kind: Kind
    id: str
    name: str | None = None
    version: int | None = None
    version_description: str | None = None


class ResourceDeleteRequested(ResourceRequest):
    """Delete one version, or with `version` None the resource."""

    kind: Kind
    id: str
    version: int | None = None


class ActiveSwitchRequested(ResourceRequest):
    """Make this the active set. `if_match` is the revision the caller saw last (0: none yet).

    `if_etag` is more exact, here and in the other commands: what was on as
    `common.clients.resources.entries.etag` names it.
    """

    place: SetScope
    pins: Pins
    if_match: int | None = None
    if_etag: str | None = None
    note: str = ""


class ActiveToolRequested(ResourceRequest):
    """Add a tool to the active set (or move its pin), or take it out."""

    place: SetScope
    action: Literal["add", "remove"]
    tool: Pin
    if_match: int | None = None
    if_etag: str | None = None


class ActiveRollbackRequested(ResourceRequest):
    """Make an earlier revision's set active again, as a new revision; None is the one before the current."""

    place: SetScope
    revision: int | None = None
    if_match: int | None = None
    if_etag: str | None = None


class ActiveRolloutRequested(ResourceRequest):
    """Give `percent` of the users another set than the current one; 0 is the kill switch, 100 completes it.

    `pins` describes the candidate when the rollout starts; later steps leave it out.
    """

    place: SetScope
    percent: float
    pins: Pins | None = None
    if_match: int | None = None
    if_etag: str | None = None


class ActiveClearRequested(ResourceRequest):
    """Take the set of this scope away, so that the next layer's applies."""

    place: SetScope
    if_match: int | None = None
    if_etag: str | None = None


class ToolDraftRequested(ResourceRequest):
    """A model drafts a tool from a description; it is stored in quarantine."""

    description: str
    inputs: Annotated[tuple[str, ...], Field(fail_fast=True)]
    outputs: Annotated[tuple[str, ...], Field(fail_fast=True)]


class ToolStatusRequested(ResourceRequest):
    """Make a quarantined tool usable, or take a tool out everywhere at once."""

    id: str
    status: Literal["usable", "disabled"]


class ProjectImportRequested(ResourceRequest):
    """Import a project as `project.export.requested` exported it: everything or nothing, and again without harm."""

    project_id: str
    document: dict[str, Any]


class ResourceImportRequested(ResourceRequest):
    """Copy a page of the provider's resources of a kind, with all their versions, into our own catalogue.

    What is here already stays as it is, so any page may be copied again. Pages count from 0.
    """

    kind: Kind
    page: int


# -- queries: they change nothing ------------------------------------------------------------------------------


class ResourceListRequested(ResourceRequest):
    """A page of resources of a kind, newest first; `name` is a filter. Pages count from 0."""

    kind: Kind
    name: str | None = None
    page_number: int = 0
    page_size: int = 10


class ResourceVersionsRequested(ResourceRequest):
    """A page of the versions of one resource, newest first."""

    kind: Kind
    id: str
    page_number: int = 0
    page_size: int = 10


class ResourceGetRequested(ResourceRequest):
    """One version of a resource; None is the latest."""

    kind: Kind
    id: str
    version: int | None = None


class ActiveResolveRequested(ResourceRequest):
    """Fill the cache with the sets that apply to this user and project, and answer with them."""

    project_id: str


class ActiveHistoryRequested(ResourceRequest):
    """The revisions of a scope, newest first, behind revision `before`."""

    place: SetScope
    limit: int = 50
    before: int | None = None


class ActiveDiffRequested(ResourceRequest):
    """What differs between two revisions of a scope."""

    place: SetScope
    old: int
    new: int


class ActiveAtRequested(ResourceRequest):
    """What was live for the user at a moment, in unix seconds."""

    project_id: str
    time: float


class AuditListRequested(ResourceRequest):
    """What was done, newest first, behind the entry `before`."""

    limit: int = 50
    before: int | None = None
    target: str | None = None


class ProjectExportRequested(ResourceRequest):
    """The active sets of a project and the resources in them, as one document."""

    project_id: str


class HumeTokenRequested(ResourceRequest):
    """A short-lived access token of the voice provider."""


# -- facts -----------------------------------------------------------------------------------------------------


class ResourceChanged(Payload):
    """A resource was created, got a version or name, was deleted, or changed its status."""

    org_id: str
    kind: Kind
    id: str
    version: int | None = None
    action: Literal["created", "versioned", "renamed", "described", "deleted", "promoted", "disabled", "quarantined"]
    # The organisation's clock: whatever is cached with a smaller one is out of date.
    clock: int
    at: float


class ActiveSwitched(Payload):
    """The active set of a scope is another one now, or gone (`revision` None)."""

    org_id: str
    place: SetScope
    revision: int | None = None
    percent: float = 0.0
    clock: int
    at: float


Q = TypeVar("Q", bound=ResourceRequest)


def _by_org(request: ResourceRequest) -> str:
    return request.org_id


def _command(type: str, payload: type[Q], reply: type[R], summary: str, *, ordered: bool = True) -> RequestSpec[Q, R]:
    """Unordered is what waits for somebody else before it writes: the organisation's other commands go on meanwhile."""
    return RequestSpec(
        type=type,
        version=1,
        payload=payload,
        reply=reply,
        topic=RESOURCE_COMMANDS,
        key=_by_org,
        summary=summary,
        retry=A_FEW_TIMES,
        ordered=ordered,
        expires=True,
    )


def _query(type: str, payload: type[Q], reply: type[R], summary: str) -> RequestSpec[Q, R]:
    return query(
        type=type,
        payload=payload,
        reply=reply,
        topic=RESOURCE_QUERIES,
        # A stampede of one reader's kind lands on one instance, which can answer it with one look.
        key=_by_org,
        summary=summary,
    )


RESOURCE_CREATE_REQUESTED = _command(
    "resource.create.requested", ResourceCreateRequested, replies.ResourceReply, "Create a resource."
)
RESOURCE_VERSION_REQUESTED = _command(
    "resource.version.requested", ResourceVersionRequested, replies.ResourceReply, "Add a version to a resource."
)
RESOURCE_EDIT_REQUESTED = _command(
    "resource.edit.requested", ResourceEditRequested, replies.ResourceReply, "Rename a resource or describe a version."
)
RESOURCE_DELETE_REQUESTED = _command(
    "resource.delete.requested", ResourceDeleteRequested, replies.ResourceDeleted, "Delete a resource or a version."
)
ACTIVE_SWITCH_REQUESTED = _command(
    "active.switch.requested", ActiveSwitchRequested, replies.ActiveSet, "Switch an active set."
)
ACTIVE_TOOL_REQUESTED = _command(
    "active.tool.requested", ActiveToolRequested, replies.ActiveSet, "Add or remove one tool of an active set."
)
ACTIVE_ROLLBACK_REQUESTED = _command(
    "active.rollback.requested", ActiveRollbackRequested, replies.ActiveSet, "Go back to an earlier revision."
)
ACTIVE_ROLLOUT_REQUESTED = _command(
    "active.rollout.requested", ActiveRolloutRequested, replies.ActiveSet, "Give a share of the users another set."
)
ACTIVE_CLEAR_REQUESTED = _command(
    "active.clear.requested", ActiveClearRequested, replies.ActiveCleared, "Take an active set away."
)
TOOL_DRAFT_REQUESTED = _command(
    "tool.draft.requested", ToolDraftRequested, replies.ToolReply, "Have a model draft a tool.", ordered=False
)
TOOL_STATUS_REQUESTED = _command(
    "tool.status.requested", ToolStatusRequested, replies.ToolReply, "Promote or disable a drafted tool."
)
PROJECT_IMPORT_REQUESTED = _command(
    "project.import.requested", ProjectImportRequested, replies.ProjectImported, "Import an exported project."
)
RESOURCE_IMPORT_REQUESTED = _command(
    "resource.import.requested",
    ResourceImportRequested,
    replies.ResourcesImported,
    "Copy resources of the provider.",
    ordered=False,
)

RESOURCE_LIST_REQUESTED = _query(
    "resource.list.requested", ResourceListRequested, replies.ResourcePage, "List resources."
)
RESOURCE_VERSIONS_REQUESTED = _query(
    "resource.versions.requested", ResourceVersionsRequested, replies.ResourcePage, "List versions of a resource."
)
RESOURCE_GET_REQUESTED = _query(
    "resource.get.requested", ResourceGetRequested, replies.ResourceReply, "Get one version of a resource."
)
ACTIVE_RESOLVE_REQUESTED = _query(
    "active.resolve.requested", ActiveResolveRequested, replies.ActiveEntries, "Resolve and cache active sets."
)
ACTIVE_HISTORY_REQUESTED = _query(
    "active.history.requested", ActiveHistoryRequested, replies.ActiveHistory, "List revisions of an active set."
)
ACTIVE_DIFF_REQUESTED = _query(
    "active.diff.requested", ActiveDiffRequested, replies.ActiveDiff, "Compare two revisions."
)
ACTIVE_AT_REQUESTED = _query(
    "active.at.requested", ActiveAtRequested, replies.ActiveAt, "Tell what was live at a moment."
)
AUDIT_LIST_REQUESTED = _query("audit.list.requested", AuditListRequested, replies.AuditList, "List what was done.")
PROJECT_EXPORT_REQUESTED = _query(
    "project.export.requested", ProjectExportRequested, replies.ProjectDocument, "Export a project as one document."
)
HUME_TOKEN_REQUESTED = _query(
    "hume.token.requested", HumeTokenRequested, replies.AccessToken, "Get a short-lived access token."
)


def _scope_key(switched: ActiveSwitched) -> str:
    return f"{switched.org_id}:{switched.place.user_id}:{switched.place.project_id}"


RESOURCE_CHANGED = EventSpec(
    type="resource.changed",
    version=1,
    payload=ResourceChanged,
    topic=RESOURCE_EVENTS,
    key=lambda changed: f"{changed.org_id}:{changed.id}",
    summary="A resource changed; caches drop what is older than its clock.",
    retry=PATIENTLY,
)
ACTIVE_SWITCHED = EventSpec(
    type="active.switched",
    version=1,
    payload=ActiveSwitched,
    topic=RESOURCE_EVENTS,
    key=_scope_key,
    summary="Another active set applies to a scope; caches drop what is older than its clock.",
    retry=PATIENTLY,
)
