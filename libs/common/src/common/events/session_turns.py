"""Sessions: what is kept of a conversation, turn by turn, and who asks for it."""

import builtins
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from common.events.backoff import NEVER, PATIENTLY
from common.events.chat import (
    CHAT_EVENTS,
    CHAT_REQUESTS,
    AnswerDialect,
    ChatReplyEnded,
    ChatReplyFailed,
    ChatReplyInterrupted,
    ContextUse,
    KeptTexts,
    ReplyError,
    StopReceipt,
    ToolStep,
    Usage,
    UtteranceProsody,
)
from common.events.reply import ReplyBody
from common.events.session_summary import RollingSummary
from common.events.spec import EventSpec, Payload, R, RequestSpec, Topic, query
from common.events.telemetry import TELEMETRY_QUERIES

TurnOutcome = Literal["completed", "interrupted", "failed"]
# How it is known what was spoken: the platform said so, or the history of the next request shows it.
SpokenBy = Literal["platform", "history"]


class SessionTurn(ReplyBody):
    """One turn as a session keeps it: what the fact about it says, without what is for operators alone.

    Texts are there where `kept` is `full`. Characters count from the beginning of what was generated, over all
    messages of `answer`; None is all of it. Times are unix seconds.
    """

    id: str
    session_id: str
    user_id: str | None = None
    outcome: TurnOutcome
    kept: Literal["metadata", "full"]
    model: str
    upstream_model: str | None = None
    stream: bool
    received_at: float
    finished_at: float
    finish_reason: str | None = None
    usage: Usage = Usage()
    # What was said to the model in this turn, and what it said: the rounds of calls with their results, and the end.
    messages: Annotated[tuple[dict[str, Any], ...], Field(fail_fast=True)] = ()
    answer: Annotated[tuple[dict[str, Any], ...], Field(fail_fast=True)] = ()
    delivered: int | None = None
    spoken: int | None = None
    spoken_by: SpokenBy | None = None
    previous: str | None = None
    continues: str | None = None
    project_id: str | None = None
    instructions: Annotated[tuple[dict[str, Any], ...], Field(fail_fast=True)] = ()
    request: dict[str, Any] | None = None
    dialect: AnswerDialect | None = None
    left_out: bool = False
    tools: Annotated[tuple[ToolStep, ...], Field(fail_fast=True)] = ()
    receipt: StopReceipt | None = None
    prosody: Annotated[tuple[UtteranceProsody, ...], Field(fail_fast=True)] = ()
    context: ContextUse | None = None
    error: ReplyError | None = None


def session_turn(end: ChatReplyEnded) -> SessionTurn | None:
    """What a session keeps of the turn that this fact is about; None where it keeps nothing."""
    kept = end.kept
    if kept is None:
        return None
    full = kept.mode == "full"
    said: dict[str, Any] = {
        "id": end.request_id,
        "outcome": _outcome(end),
        "kept": kept.mode,
        "tools": tuple(_shown(step, full=full) for step in end.tools or ()),
        "prosody": end.prosody or (),
        "receipt": end.receipt if isinstance(end, ChatReplyInterrupted) else None,
        "error": end.error if isinstance(end, ChatReplyFailed) else None,
    }
    for name in ("session_id", "user_id", "model", "upstream_model", "stream", "received_at", "finished_at"):
        said[name] = getattr(end, name)
    for name in ("finish_reason", "usage", "context"):
        said[name] = getattr(end, name)
    if full:
        said |= {name: getattr(kept, name) for name in KeptTexts.model_fields if name != "mode"}
    return SessionTurn(**said)


def _outcome(end: ChatReplyEnded) -> TurnOutcome:
    if isinstance(end, ChatReplyInterrupted):
        return "interrupted"
    return "failed" if isinstance(end, ChatReplyFailed) else "completed"


def _shown(step: ToolStep, *, full: bool) -> ToolStep:
    """A call; what it was told and what it answered are texts."""
    return step if full else step.model_copy(update={"arguments": "", "result": ""})


# -- facts -----------------------------------------------------------------------------------------------------------


class SessionFact(Payload):
    """What has become of a session. `at` is unix seconds."""

    org_id: str
    session_id: str
    at: float


class ReplySpoken(SessionFact):
    """How many characters of an answer the user has heard is known better than before."""

    request_id: str
    characters: int
    by: SpokenBy


class SessionDeleted(SessionFact):
    """A session was deleted, with every turn that was received up to `at`; or one turn of it."""

    request_id: str | None = None


class SessionExtension(SessionFact):
    """Something was added to a session that nobody has answered: `turn` has messages and no answer."""

    turn: SessionTurn


F = TypeVar("F", bound=SessionFact)


def _key(fact: SessionFact) -> str:
    return f"{fact.org_id}/{fact.session_id}"


CHAT_REPLY_SPOKEN = EventSpec(
    type="chat.reply.spoken",
    version=1,
    payload=ReplySpoken,
    topic=CHAT_EVENTS,
    key=_key,
    summary="It became known how much of an answer the user has heard.",
    retry=PATIENTLY,
    ordered=False,
)
CHAT_SESSION_EXTENDED = EventSpec(
    type="chat.session.extended",
    version=1,
    payload=SessionExtension,
    topic=CHAT_EVENTS,
    key=_key,
    summary="Messages were added to a session without an answer, or what is noted of it was changed.",
    retry=PATIENTLY,
    ordered=False,
)
CHAT_SESSION_DELETED = EventSpec(
    type="chat.session.deleted",
    version=1,
    payload=SessionDeleted,
    topic=CHAT_EVENTS,
    key=_key,
    summary="A session, or one turn of it, was deleted by its organisation.",
    retry=PATIENTLY,
    ordered=False,
)


# -- asked of llm-stream ---------------------------------------------------------------------------------------------


class SessionQuery(Payload):
    """About one session of an organisation."""

    org_id: str
    session_id: str


class SessionRequested(SessionQuery):
    """What is kept of this session?"""


class ShownTurn(ReplyBody):
    """A turn as its organisation is shown it. Times are unix seconds.

    `generated` came from the model, `delivered` left towards the client, `spoken` is what the user has heard as far as
    is known; all three are None where no texts are kept. `messages` are those that were new in the turn, `answer` what
    the model said in it, with its calls and their results.
    """

    id: str
    user_id: str | None
    outcome: TurnOutcome
    kept: Literal["metadata", "full"]
    model: str
    upstream_model: str | None
    stream: bool
    received_at: float
    finished_at: float
    finish_reason: str | None
    usage: Usage
    messages: tuple[dict[str, Any], ...]
    answer: tuple[dict[str, Any], ...]
    generated: str | None
    delivered: str | None
    spoken: str | None
    spoken_by: SpokenBy | None
    cut_off: bool
    previous: str | None
    continues: str | None
    left_out: bool
    tools: tuple[ToolStep, ...]
    receipt: StopReceipt | None
    prosody: tuple[UtteranceProsody, ...]
    context: ContextUse | None
    error: ReplyError | None


class ShownSummary(ReplyBody):
    """What was said first, in short: the first `messages`, as the alias `model` summed them up (unix seconds)."""

    text: str
    messages: int
    model: str
    made_at: float | None


class ShownSession(ReplyBody):
    """A session with its turns in order. `cut`: older ones were let go.

    `messages` are what a next request would be asked with: only what was spoken, and every pair of call and result
    closed. Where they are too many for the window of an alias, the `summary` stands for the first of them.
    """

    id: str
    object: Literal["session"]
    turns: tuple[ShownTurn, ...]
    cut: bool
    messages: tuple[dict[str, Any], ...]
    summary: ShownSummary | None = None
    # What its owner has noted of it.
    metadata: dict[str, Any] | None = None


class TurnRequested(Payload):
    """One turn: by its id, or the last one of a session."""

    org_id: str
    request_id: str | None = None
    session_id: str | None = None


class TurnFound(ReplyBody):
    """The turn. `open_ended`: there is more to say of its answer than the user has heard."""

    turn: SessionTurn
    open_ended: bool = False


class Heard(Payload):
    """What the user has heard of an answer, as its platform can say it; the first that is there counts.

    `text` is its beginning, `characters` how many of it; `audio_ms` of `of_ms` milliseconds of speech were played.
    """

    text: str | None = None
    characters: int | None = None
    audio_ms: float | None = None
    of_ms: float | None = None


class SpokenReported(SessionQuery):
    """The user has heard so much of an answer: of `request_id`, or of the last one. `at` is unix seconds."""

    heard: Heard
    request_id: str | None = None
    at: float


class Spoken(ReplyBody):
    """What of which answer counts as spoken."""

    id: str
    spoken: str
    characters: int


class SessionDeleteRequested(SessionQuery):
    """Forget the session, or one turn of it. `at` is unix seconds: what was received later stays."""

    request_id: str | None = None
    at: float


class SessionExtendRequested(SessionQuery):
    """Add messages to a session as the turn `request_id`, and note `metadata` of it. `at` is unix seconds.

    `fresh`: the session begins with it.
    """

    request_id: str
    messages: Annotated[tuple[dict[str, Any], ...], Field(fail_fast=True)] = ()
    metadata: dict[str, Any] | None = None
    at: float
    fresh: bool = False


class SessionExtended(ReplyBody):
    """It is kept, as the turn `id`."""

    id: str


class SessionGone(ReplyBody):
    """It is forgotten."""

    id: str
    deleted: bool = True


# -- asked of telemetry ----------------------------------------------------------------------------------------------


class SessionHistory(ReplyBody):
    """What telemetry keeps of a session. `deleted_at`: it was deleted then, as unix seconds."""

    turns: tuple[SessionTurn, ...]
    cut: bool = False
    deleted_at: float | None = None
    summary: RollingSummary | None = None


class SessionHistoryRequested(SessionQuery):
    """What is durably kept of this session?"""


class StoredTurnRequested(Payload):
    """The turn of this id, where it is durably kept."""

    org_id: str
    request_id: str


class SessionPlace(Payload):
    """A place in the list of sessions: when the one before it was last used, as unix seconds, and its id."""

    updated_at: float
    id: str


class SessionListRequested(Payload):
    """Sessions of an organisation, those last used first, behind `after`."""

    org_id: str
    user_id: str | None = None
    limit: int
    after: SessionPlace | None = None


class SessionRow(ReplyBody):
    """One session. Times are unix seconds, `bytes` are those of its turns."""

    id: str
    user_id: str | None
    created_at: float
    updated_at: float
    expires_at: float
    turns: int
    bytes: int


class SessionList(ReplyBody):
    """A page of sessions."""

    data: tuple[SessionRow, ...]
    has_more: bool


class SessionPolicyRequested(Payload):
    """For how many days after its last turn a session of the organisation is kept; `days` sets it, 0 takes it back."""

    org_id: str
    days: int | None = None


class SessionPolicy(ReplyBody):
    """The days that hold, and whether the organisation set them itself."""

    days: int
    own: bool


Q = TypeVar("Q", bound=Payload)


def _question(
    type: str, payload: builtins.type[Q], reply: builtins.type[R], topic: Topic, summary: str
) -> RequestSpec[Q, R]:
    """A question about sessions: over in a moment, and worth nothing once its asker has left."""
    return query(
        type=type,
        payload=payload,
        reply=reply,
        topic=topic,
        key=_organization,
        summary=summary,
    )


def _organization(asked: Any) -> str:
    org_id: str = asked.org_id
    return org_id


SESSION_REQUESTED = _question(
    "chat.session.requested", SessionRequested, ShownSession, CHAT_REQUESTS, "Tell the turns of a session."
)
TURN_REQUESTED = _question(
    "chat.turn.requested", TurnRequested, TurnFound, CHAT_REQUESTS, "Tell one turn of a session."
)
SPOKEN_REPORTED = _question(
    "chat.spoken.requested", SpokenReported, Spoken, CHAT_REQUESTS, "Note how much of an answer the user has heard."
)
SESSION_EXTEND_REQUESTED = _question(
    "chat.session.extend.requested",
    SessionExtendRequested,
    SessionExtended,
    CHAT_REQUESTS,
    "Add messages to a session without asking for an answer.",
)
SESSION_DELETE_REQUESTED = _question(
    "chat.session.delete.requested", SessionDeleteRequested, SessionGone, CHAT_REQUESTS, "Forget a session or a turn."
)
# Among the facts: it stands behind all that happened in the session before, and waits like them for a place.
SESSION_HISTORY_REQUESTED = RequestSpec(
    type="telemetry.session.requested",
    version=1,
    payload=SessionHistoryRequested,
    reply=SessionHistory,
    topic=CHAT_EVENTS,
    key=lambda asked: f"{asked.org_id}/{asked.session_id}",
    summary="Tell what is durably kept of a session, with every fact about it that is on the log by now.",
    retry=NEVER,
    park=False,
    ordered=False,
    expires=True,
)
STORED_TURN_REQUESTED = _question(
    "telemetry.turn.requested", StoredTurnRequested, TurnFound, TELEMETRY_QUERIES, "Tell one turn that is durably kept."
)
SESSION_LIST_REQUESTED = _question(
    "telemetry.sessions.requested", SessionListRequested, SessionList, TELEMETRY_QUERIES, "List sessions."
)
SESSION_POLICY_REQUESTED = _question(
    "telemetry.session.policy.requested",
    SessionPolicyRequested,
    SessionPolicy,
    TELEMETRY_QUERIES,
    "Tell or set for how many days sessions of an organisation are kept.",
)
