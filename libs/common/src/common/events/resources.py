"""Resources: versioned prompts, configs, tools and voices, and the active set of a user and project."""

from typing import Any, Literal

from common.events.backoff import A_FEW_TIMES, NEVER, PATIENTLY
from common.events.spec import EventSpec, Payload, Topic

RESOURCE_COMMANDS = Topic("resource-commands")
RESOURCE_QUERIES = Topic("resource-queries")
RESOURCE_EVENTS = Topic("resource-events")

Kind = Literal["prompt", "config", "tool", "voice"]
# Whose active set: a user's in a project, a project's default, the organisation's default.
Layer = Literal["user", "project", "organization"]
DEFAULT_PROJECT = "default"


class ResourceRequest(Payload):
    """Who asks: the organisation and key of the caller, and the end user it acts for."""

    org_id: str
    key_id: str
    user_id: str


class Pin(Payload):
    """A resource in an active set; `version` None follows the latest."""

    id: str
    version: int | None = None


class Pins(Payload):
    """What an active set consists of."""

    config: Pin
    prompt: Pin
    voice: Pin | None = None
    tools: tuple[Pin, ...] = ()


class SetScope(Payload):
    """Which active set is meant: `project_id` is empty for the organisation's, `user_id` for a default."""

    layer: Layer = "user"
    project_id: str = DEFAULT_PROJECT
    user_id: str = ""


# -- commands: they change something, and answer with the result ----------------------------------------------
#
# Answers are what the caller of the HTTP route gets. A resource is answered as {"prompt": {…}} under its kind, a page
# as {"prompts": […], "page_number", "page_size", "total_pages"} under its kind's plural, and an active set as
# {"place": {…}, "layer", "revision", "percent", "clock", "config": {…}, "prompt": {…}, "voice": {…} | null,
# "tools": […], "pins": {…}, "candidate_revision"} with whole resources.


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
    """Delete one version, or with `version` None the resource. Answer: {"id", "version" | null, "deleted": true}."""

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
    """Take the set of this place away, so that the next layer shows through. Answer: {"revision": null}."""

    place: SetScope
    if_match: int | None = None
    if_etag: str | None = None


class ToolDraftRequested(ResourceRequest):
    """A model drafts a tool from a description; it is stored in quarantine."""

    description: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class ToolStatusRequested(ResourceRequest):
    """Make a quarantined tool usable, or take a tool out everywhere at once."""

    id: str
    status: Literal["usable", "disabled"]


class ProjectImportRequested(ResourceRequest):
    """Put a project in as `project.export.requested` took it out: everything or nothing, and again without harm.

    Answer: {"resources", "versions", "places"}, each the number of those that were new or changed.
    """

    project_id: str
    document: dict[str, Any]


class ResourceImportRequested(ResourceRequest):
    """Copy a page of the provider's resources of a kind, with all their versions, into our own catalogue.

    What is here already stays as it is, so any page may be copied again. Pages count from 0. Answer: {"resources",
    "versions", "known", "skipped": [{"id", "name", "reason"}], "more"}; of a "version_conflict" the "version" as well.
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
    """The revisions of a place, newest first, behind revision `before`. Answer: {"data", "has_more", "steps"}.

    Steps are the changes of what was live since the oldest of these revisions, newest first.
    """

    place: SetScope
    limit: int = 50
    before: int | None = None


class ActiveDiffRequested(ResourceRequest):
    """What differs between two revisions of a place."""

    place: SetScope
    old: int
    new: int


class ActiveAtRequested(ResourceRequest):
    """What was live for the user at a moment, in unix seconds."""

    project_id: str
    time: float


class AuditListRequested(ResourceRequest):
    """What was done, newest first, behind the entry `before`. Answer: {"data": […], "has_more"}."""

    limit: int = 50
    before: int | None = None
    target: str | None = None


class ProjectExportRequested(ResourceRequest):
    """The active sets of a project and the resources in them, as one document."""

    project_id: str


class HumeTokenRequested(ResourceRequest):
    """A short-lived access token of the voice provider. Answer: {"accessToken"}."""


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
    """The active set of a place is another one now, or gone (`revision` None)."""

    org_id: str
    place: SetScope
    revision: int | None = None
    percent: float = 0.0
    clock: int
    at: float


def _by_org(asked: ResourceRequest) -> str:
    return asked.org_id


def _command(type: str, payload: type[Any], summary: str, *, ordered: bool = True) -> EventSpec[Any]:
    """Unordered is what waits for somebody else before it writes: the organisation's other commands go on meanwhile."""
    return EventSpec(
        type=type,
        version=1,
        payload=payload,
        topic=RESOURCE_COMMANDS,
        key=_by_org,
        summary=summary,
        retry=A_FEW_TIMES,
        ordered=ordered,
        expires=True,
    )


def _query(type: str, payload: type[Any], summary: str) -> EventSpec[Any]:
    return EventSpec(
        type=type,
        version=1,
        payload=payload,
        topic=RESOURCE_QUERIES,
        # A stampede of one reader's kind lands on one instance, which can answer it with one look.
        key=_by_org,
        summary=summary,
        retry=NEVER,
        park=False,
        ordered=False,
        expires=True,
    )


RESOURCE_CREATE_REQUESTED = _command("resource.create.requested", ResourceCreateRequested, "Create a resource.")
RESOURCE_VERSION_REQUESTED = _command(
    "resource.version.requested", ResourceVersionRequested, "Add a version to a resource."
)
RESOURCE_EDIT_REQUESTED = _command(
    "resource.edit.requested", ResourceEditRequested, "Rename a resource or describe a version."
)
RESOURCE_DELETE_REQUESTED = _command(
    "resource.delete.requested", ResourceDeleteRequested, "Delete a resource or a version."
)
ACTIVE_SWITCH_REQUESTED = _command("active.switch.requested", ActiveSwitchRequested, "Switch an active set.")
ACTIVE_TOOL_REQUESTED = _command(
    "active.tool.requested", ActiveToolRequested, "Add or remove one tool of an active set."
)
ACTIVE_ROLLBACK_REQUESTED = _command(
    "active.rollback.requested", ActiveRollbackRequested, "Go back to an earlier revision."
)
ACTIVE_ROLLOUT_REQUESTED = _command(
    "active.rollout.requested", ActiveRolloutRequested, "Give a share of the users another set."
)
ACTIVE_CLEAR_REQUESTED = _command("active.clear.requested", ActiveClearRequested, "Take an active set away.")
TOOL_DRAFT_REQUESTED = _command("tool.draft.requested", ToolDraftRequested, "Have a model draft a tool.", ordered=False)
TOOL_STATUS_REQUESTED = _command("tool.status.requested", ToolStatusRequested, "Promote or disable a drafted tool.")
PROJECT_IMPORT_REQUESTED = _command("project.import.requested", ProjectImportRequested, "Put an exported project in.")
RESOURCE_IMPORT_REQUESTED = _command(
    "resource.import.requested", ResourceImportRequested, "Copy resources of the provider.", ordered=False
)

RESOURCE_LIST_REQUESTED = _query("resource.list.requested", ResourceListRequested, "List resources.")
RESOURCE_VERSIONS_REQUESTED = _query(
    "resource.versions.requested", ResourceVersionsRequested, "List versions of a resource."
)
RESOURCE_GET_REQUESTED = _query("resource.get.requested", ResourceGetRequested, "Get one version of a resource.")
ACTIVE_RESOLVE_REQUESTED = _query("active.resolve.requested", ActiveResolveRequested, "Resolve and cache active sets.")
ACTIVE_HISTORY_REQUESTED = _query(
    "active.history.requested", ActiveHistoryRequested, "List revisions of an active set."
)
ACTIVE_DIFF_REQUESTED = _query("active.diff.requested", ActiveDiffRequested, "Compare two revisions.")
ACTIVE_AT_REQUESTED = _query("active.at.requested", ActiveAtRequested, "Tell what was live at a moment.")
AUDIT_LIST_REQUESTED = _query("audit.list.requested", AuditListRequested, "List what was done.")
PROJECT_EXPORT_REQUESTED = _query(
    "project.export.requested", ProjectExportRequested, "Take a project out as one document."
)
HUME_TOKEN_REQUESTED = _query("hume.token.requested", HumeTokenRequested, "Get a short-lived access token.")


def _place_key(switched: ActiveSwitched) -> str:
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
    key=_place_key,
    summary="Another active set applies to a place; caches drop what is older than its clock.",
    retry=PATIENTLY,
)
