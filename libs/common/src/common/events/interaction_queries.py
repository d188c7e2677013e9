"""Questions about interactions and what is to be kept of them, answered by telemetry over LIVE.

Times are unix seconds. A list has `next`, which goes into `after`, where `has_more` says that there is more.
"""

from typing import Any, Literal

from common.events.backoff import NEVER
from common.events.reply import ReplyBody
from common.events.spec import Payload, R, RequestSpec, Topic
from common.events.telemetry import TELEMETRY_QUERIES
from common.events.telemetry_policy import TelemetryPolicy

TELEMETRY_COMMANDS = Topic("telemetry-commands")


class Asked(Payload):
    """A question of an organisation."""

    org_id: str


class SessionListRequested(Asked):
    """Sessions, the latest first; `since` is inclusive, `until` is not. `user_id` is sealed."""

    mode: str | None = None
    user_id: str | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 50
    after: str | None = None


class SessionSummary(ReplyBody):
    """One session. `turns` counts its interactions, `errors` those that failed."""

    session_id: str
    mode: str
    user_id: str | None
    first_at: float
    last_at: float
    turns: int
    errors: int
    total_tokens: int
    cost_usd: float
    last_model: str | None


class SessionList(ReplyBody):
    """A page of sessions."""

    object: Literal["list"]
    data: tuple[SessionSummary, ...]
    has_more: bool
    next: str | None


class StepNode(ReplyBody):
    """A step, with those within it. `cut`: input or output are longer than they are told here."""

    id: str
    parent_id: str | None
    name: str
    type: str | None
    at: float | None
    duration_ms: float | None
    input: Any
    output: Any
    status: str | None
    error: Any
    metadata: Any
    cut: bool = False
    steps: tuple["StepNode", ...]


class ScoreRow(ReplyBody):
    """A score of an interaction; `value` is a number, or a text."""

    id: str
    name: str
    value: float | str | None
    comment: str | None
    source: str | None
    user_id: str | None
    metadata: Any
    at: float


class InteractionRow(ReplyBody):
    """One interaction. `origin` is `api`, `otlp` or `sonant` (a turn of our own, which has no texts).

    `operation` is `chat`, or `embeddings`, which belong to no session.

    `active_set` is the revision of the active set that served it, `receipt` how it was interrupted, `prosody` how the
    user sounded. `cut`: a text is longer than it is told here.
    """

    id: str
    mode: str
    origin: str
    operation: str = "chat"
    session_id: str
    project_id: str | None
    user_id: str | None
    llm_model: str | None
    provider: str | None
    file_name: str | None
    user_prompt: str | None
    ai_response: str | None
    metadata: Any
    user_metadata: Any
    extra: Any
    tags: list[str] | None
    environment: str | None
    release: str | None
    prompt_version: str | None
    status: str
    error: Any
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cached_tokens: int | None
    estimated: bool
    response_ms: float | None
    first_token_ms: float | None
    cost_usd: float | None
    cost_from: str | None
    trace_id: str | None
    span_id: str | None
    parent_id: str | None
    request_id: str | None
    active_set: Any
    attempts: Any
    receipt: Any
    prosody: Any
    context: Any
    at: float
    ended_at: float | None
    accepted_at: float
    stored_at: float
    cut: bool = False
    steps: tuple[StepNode, ...]
    scores: tuple[ScoreRow, ...]


class SessionRequested(Asked):
    """One session with its turns, the oldest first. `session_id` is sealed."""

    session_id: str
    mode: str | None = None
    limit: int = 50
    after: str | None = None


class SessionDetail(SessionSummary):
    """A session with a page of its turns."""

    object: Literal["session"]
    data: tuple[InteractionRow, ...]
    has_more: bool
    next: str | None


class InteractionRequested(Asked):
    """One interaction."""

    id: str


class BatchFateRequested(Asked):
    """What became of a batch of `count` items; `accepted_at` stands in its id."""

    batch_id: str
    count: int


class ItemFate(ReplyBody):
    """What became of one item. `accepted`: it is on the log, and not stored yet."""

    index: int | None
    id: str | None
    state: Literal["accepted", "stored", "sampled_out", "parked", "repeated"]
    reason: str | None = None


class BatchFate(ReplyBody):
    """What became of a batch. `pending` are those that are not stored yet."""

    accepted: int
    stored: int
    sampled_out: int
    parked: int
    repeated: int
    pending: int
    items: tuple[ItemFate, ...]


class LedgerRequested(Asked):
    """The ledger by hour; `since` is inclusive, `until` is not."""

    since: float
    until: float


class LedgerHour(ReplyBody):
    """One hour, which begins at `hour`. What was accepted is stored, sampled out, parked or repeated, or it is missing.

    In an hour that is not over, what is on its way counts as missing.
    """

    hour: float
    accepted: int
    stored: int
    sampled_out: int
    parked: int
    repeated: int
    missing: int


class Ledger(ReplyBody):
    """The hours in which anything was accepted, the oldest first; `balanced` where nothing is missing in any."""

    object: Literal["list"]
    data: tuple[LedgerHour, ...]
    balanced: bool


class PolicyRequested(Asked):
    """The policy of an organisation."""


class PolicyState(ReplyBody):
    """A policy; `revision` 0 is what holds where nobody has said anything."""

    revision: int
    policy: TelemetryPolicy
    changed_at: float | None
    changed_by: str | None


class PolicyChangeRequested(Asked):
    """Replace the policy, where it is at `revision` or None was given. `policy` is a `TelemetryPolicy` as JSON."""

    key_id: str
    user_id: str = ""
    policy: dict[str, Any]
    revision: int | None = None


class PriceListRequested(Asked):
    """All prices of an organisation."""


class PriceRow(ReplyBody):
    """US dollars for a million tokens, from `valid_from` on."""

    model: str
    valid_from: float
    input: float
    output: float
    cached_input: float | None


class PriceRows(ReplyBody):
    """Prices by model, each with its history."""

    object: Literal["list"]
    data: tuple[PriceRow, ...]


class PriceChangeRequested(Asked):
    """A price from a moment on; the same model and moment again replaces it."""

    key_id: str
    user_id: str = ""
    model: str
    valid_from: float
    input: float
    output: float
    cached_input: float | None = None


class UserDeletionRequested(Asked):
    """Delete everything that is stored of a user. `user_id` is sealed."""

    key_id: str
    deletion_id: str
    user_id: str


class UserDeletionGet(Asked):
    """How far a deletion is."""

    deletion_id: str


class UserDeletion(ReplyBody):
    """A deletion; `rows` were deleted up to now. It is done once what was accepted before it cannot come any more."""

    id: str
    state: Literal["queued", "done"]
    rows: int
    requested_at: float
    done_at: float | None


def _query(type: str, payload: type[Asked], reply: type[R], summary: str) -> RequestSpec[Any, R]:
    return _request(type, payload, reply, summary, TELEMETRY_QUERIES)


def _request(type: str, payload: type[Asked], reply: type[R], summary: str, topic: Topic) -> RequestSpec[Any, R]:
    return RequestSpec(
        type=type,
        version=1,
        payload=payload,
        reply=reply,
        topic=topic,
        key=lambda asked: asked.org_id,
        summary=summary,
        retry=NEVER,
        park=False,
        ordered=topic is TELEMETRY_COMMANDS,
        expires=True,
        question=True,
    )


SESSION_LIST_REQUESTED = _query(
    "telemetry.interaction.sessions.requested", SessionListRequested, SessionList, "List sessions."
)
SESSION_REQUESTED = _query(
    "telemetry.interaction.session.requested",
    SessionRequested,
    SessionDetail,
    "Tell the turns of a session, with their steps.",
)
INTERACTION_REQUESTED = _query(
    "telemetry.interaction.requested", InteractionRequested, InteractionRow, "Tell one interaction."
)
BATCH_FATE_REQUESTED = _query(
    "telemetry.batch.requested", BatchFateRequested, BatchFate, "Tell what became of the items of a batch."
)
LEDGER_REQUESTED = _query(
    "telemetry.ledger.requested", LedgerRequested, Ledger, "Tell what was accepted and what became of it, by hour."
)
POLICY_REQUESTED = _query("telemetry.policy.requested", PolicyRequested, PolicyState, "Tell the policy.")
PRICE_LIST_REQUESTED = _query("telemetry.prices.requested", PriceListRequested, PriceRows, "List the prices.")
USER_DELETION_GET = _query("telemetry.deletion.requested", UserDeletionGet, UserDeletion, "Tell how far a deletion is.")
POLICY_CHANGE_REQUESTED = _request(
    "telemetry.policy.change.requested", PolicyChangeRequested, PolicyState, "Replace the policy.", TELEMETRY_COMMANDS
)
PRICE_CHANGE_REQUESTED = _request(
    "telemetry.price.change.requested", PriceChangeRequested, PriceRow, "Set a price.", TELEMETRY_COMMANDS
)
USER_DELETION_REQUESTED = _request(
    "telemetry.user.deletion.requested",
    UserDeletionRequested,
    UserDeletion,
    "Delete everything that is stored of a user.",
    TELEMETRY_COMMANDS,
)
INTERACTION_REQUESTS = (
    SESSION_LIST_REQUESTED,
    SESSION_REQUESTED,
    INTERACTION_REQUESTED,
    BATCH_FATE_REQUESTED,
    LEDGER_REQUESTED,
    POLICY_REQUESTED,
    PRICE_LIST_REQUESTED,
    USER_DELETION_GET,
    POLICY_CHANGE_REQUESTED,
    PRICE_CHANGE_REQUESTED,
    USER_DELETION_REQUESTED,
)
