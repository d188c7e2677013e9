"""Chat: one request, the frames and signals of its answer, and exactly one of three facts about how that ended."""

import builtins
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from common.events.backoff import NEVER, PATIENTLY
from common.events.keys import KeyBudget
from common.events.reply import ReplyBody
from common.events.resource_terms import Layer
from common.events.retrieval_use import RetrievalUse
from common.events.session_summary import RollingSummary
from common.events.spec import EventSpec, Payload, SignalSpec, Topic, query

CHAT_REQUESTS = Topic("chat-requests")
CHAT_EVENTS = Topic("chat-events")

StopReason = Literal["user_interruption", "newer_request", "client_closed", "gateway_lost", "deadline"]


class AnswerRequested(Payload):
    """An answer of a model is wanted. `body` is the OpenAI request as received, already validated."""

    request_id: str
    org_id: str
    key_id: str
    session_id: str
    user_id: str | None = None
    model: str
    stream: bool
    # Seconds the turn goes on after its client dropped; 0 cancels at once.
    resume_grace: float = 0.0
    # Unix seconds at which the gateway had read the request.
    received_at: float
    # Behind all that a fact needs: past its deadline a request is read up to here.
    body: dict[str, Any]


class UtteranceProsody(Payload):
    """How an utterance sounded: a score for each name, as the platform measured it. Times are on its clock."""

    scores: dict[str, float]
    begin_ms: float | None = None
    end_ms: float | None = None


class AnswerDialect(Payload):
    """Who the answer is written for: a dialect by name, and what of the request its chunks tell again."""

    name: str
    told: dict[str, Any] = Field(default_factory=dict)


class SessionUse(Payload):
    """What a request wants of its session.

    `store`: whether its texts are kept; None leaves that to the config. `history`: whether what is kept stands in front
    of the messages; None is to find out whether they hold it already. `previous` is the turn that it follows instead of
    the last one, "" for none. `continues` is the turn whose answer it takes up where the user stopped hearing it.
    """

    store: bool | None = None
    history: Literal["stored", "sent"] | None = None
    previous: str | None = None
    continues: str | None = None


class ChatReplyRequested(AnswerRequested):
    """A chat completion is wanted. Where a user or a project is named, their active set goes into the answer."""

    project_id: str | None = None
    # What each choice may say, where the caller leaves it open and its key has a limit of tokens.
    answer_tokens: int | None = None
    # None where the answer is OpenAI's own.
    dialect: AnswerDialect | None = None
    # What the user has said since the assistant spoke, where that was measured.
    prosody: Annotated[tuple[UtteranceProsody, ...], Field(fail_fast=True)] | None = None
    # What the key may spend, where that is limited.
    budget: KeyBudget | None = None
    # Whether an exact repeat may be answered from the cache, or is to be made anew and kept (`refresh`; `bypass` where
    # the cache is on anyway). None leaves that to alias and flags.
    cache: Literal["on", "off", "refresh", "bypass"] | None = None
    session: SessionUse | None = None
    # What the answer is to be: the summary of another session. Nobody hears it.
    summary: RollingSummary | None = None


class ChatModelsRequested(Payload):
    """Which model aliases are there?"""


class ModelNames(ReplyBody):
    """The model aliases, sorted."""

    models: tuple[str, ...]


class Usage(Payload):
    """Tokens of the attempt that answered. `estimated` where the upstream reported none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    estimated: bool = False


class Attempt(Payload):
    """One try at one upstream, with what came of it."""

    upstream: str
    model: str
    outcome: str
    status: int | None = None
    error: str | None = None
    started_at: float
    duration_ms: float
    first_byte_ms: float | None = None


class StopReceipt(Payload):
    """How an answer was stopped. Times are unix seconds; tokens are counted in content deltas.

    `generated_tokens` arrived from the upstream, `delivered_tokens` left towards the client; the
    difference was never said and must not enter a history.
    """

    reason: StopReason
    signal_at: float
    last_byte_at: float | None = None
    upstream_closed_at: float | None = None
    generated_tokens: int = 0
    delivered_tokens: int = 0


class ReplyError(Payload):
    """The error the client got, in the one error shape."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ContextUse(Payload):
    """What of a conversation its upstream was asked with, where the alias says how long its window is.

    `tokens` of `budget_tokens` are those of the prompt, its tools among them, `estimated_tokens` of them by rule of
    thumb; `tokens_before` are those of the whole conversation. `messages_cut` of `messages_before` were left out, of
    which a summary tells the first `messages_summed_up`.
    """

    tokenizer: str | None = None
    window_tokens: int
    budget_tokens: int
    tokens_before: int
    tokens: int
    estimated_tokens: int
    messages_before: int
    messages_cut: int = 0
    messages_summed_up: int | None = None


ToolKind = Literal["builtin", "python", "http"]
ToolOutcome = Literal[
    "done",
    "wrong_arguments",
    "failed",
    "timed_out",
    "busy",
    "unknown_tool",
    "too_many",
    "not_run",
    "cancelled",
    "left_running",
]


class ToolStep(Payload):
    """A call of a tool that Sonant runs. `arguments` and `result` may be cut.

    `round` counts from 1: the calls of one round were made at the same time. `kind` is None where there is no such
    tool. `not_run`: calls of the caller's tools were among them, so the answer ended with those.
    """

    id: str
    name: str
    kind: ToolKind | None = None
    arguments: str = ""
    result: str = ""
    outcome: ToolOutcome
    round: int = 1
    # Unix seconds.
    started_at: float
    duration_ms: float = 0.0


class ModerationUse(Payload):
    """What a moderator found in a turn: `flagged` names categories. `unchecked` texts passed while it was away."""

    stage: Literal["input", "output"] | None = None
    flagged: Annotated[tuple[str, ...], Field(fail_fast=True)] = ()
    checked: int = 0
    unchecked: int = 0


class ActiveSetUse(Payload):
    """The active set that a turn was answered with: its revision in the scope of `layer`.

    `candidate`: the one of a rollout. `stale`: it could not be refreshed. `alias`: the one that its config chose.
    """

    revision: int
    layer: Layer
    candidate: bool = False
    stale: bool = False
    alias: str | None = None
    flags: dict[str, bool | float | str] | None = None


class AnswerEnded(Payload):
    """What the ends of a turn have in common, of a chat or of embeddings. Times are unix seconds."""

    request_id: str
    org_id: str
    key_id: str
    user_id: str | None = None
    model: str
    upstream: str | None = None
    upstream_model: str | None = None
    usage: Usage = Usage()
    cost_usd: float = 0.0
    received_at: float
    started_at: float
    finished_at: float
    attempts: Annotated[tuple[Attempt, ...], Field(fail_fast=True)] = ()


class KeptTexts(Payload):
    """What a session is to keep of a turn beside what the fact tells anyway; `mode` `metadata` is none of its texts.

    `messages` are those that were new in this turn. `answer` is what the model said: the rounds of calls with their
    results, and the end. `delivered` characters of what it said left towards the client; None is all. `instructions`
    and `request` are what it was asked with beside the conversation. `left_out`: there was too much to keep all of it.
    """

    mode: Literal["metadata", "full"]
    messages: Annotated[tuple[dict[str, Any], ...], Field(fail_fast=True)] = ()
    answer: Annotated[tuple[dict[str, Any], ...], Field(fail_fast=True)] = ()
    delivered: int | None = None
    previous: str | None = None
    continues: str | None = None
    project_id: str | None = None
    instructions: Annotated[tuple[dict[str, Any], ...], Field(fail_fast=True)] = ()
    request: dict[str, Any] | None = None
    dialect: AnswerDialect | None = None
    left_out: bool = False


class ChatReplyEnded(AnswerEnded):
    """What the three ends of a chat turn have in common."""

    session_id: str
    stream: bool
    first_token_at: float | None = None
    finish_reason: str | None = None
    project_id: str | None = None
    context: ContextUse | None = None
    tools: Annotated[tuple[ToolStep, ...], Field(fail_fast=True)] | None = None
    # How the user sounded in this turn, in order; over a session this is a series.
    prosody: Annotated[tuple[UtteranceProsody, ...], Field(fail_fast=True)] | None = None
    # What a user or project was answered with, where they have a set.
    active: ActiveSetUse | None = None
    # Who answered where no upstream was asked.
    served_by: Literal["greeting", "cache"] | None = None
    # What came of the cache, where it was asked.
    cache: Literal["hit", "miss", "refresh"] | None = None
    # What cut the answer short.
    ended_by: Literal["budget", "moderation"] | None = None
    moderation: ModerationUse | None = None  # what a moderator said of question or answer
    retrieval: RetrievalUse | None = None  # where the config wants documents
    # None where no session keeps anything of the turn.
    kept: KeptTexts | None = None
    summary: RollingSummary | None = None  # where the answer was to be one
    within_turn: str | None = None  # where the answer was to be what that turn searches for


class ChatReplyCompleted(ChatReplyEnded):
    """The whole answer was handed over."""


class ChatReplyInterrupted(ChatReplyEnded):
    """The caller stopped listening before the end."""

    receipt: StopReceipt


class ChatReplyFailed(ChatReplyEnded):
    """No upstream gave a whole answer; the client was told so."""

    error: ReplyError


E = TypeVar("E", bound=AnswerEnded)


def _session(payload: ChatReplyRequested | ChatReplyEnded) -> str:
    return f"{payload.org_id}/{payload.session_id}"


CHAT_REPLY_REQUESTED = EventSpec(
    type="chat.reply.requested",
    version=1,
    payload=ChatReplyRequested,
    topic=CHAT_REQUESTS,
    key=_session,
    summary="Answer a chat completion request; frames go to the gateway named in reply-to.",
    retry=NEVER,
    # A newer turn of a session must be able to overtake the one it interrupts.
    ordered=False,
    bulk="body",
)
CHAT_MODELS_REQUESTED = query(
    type="chat.models.requested",
    payload=ChatModelsRequested,
    reply=ModelNames,
    topic=CHAT_REQUESTS,
    key=lambda _: "models",
    summary="List the model aliases; the reply goes to the gateway named in reply-to.",
)


def answer_end(type: str, payload: builtins.type[E], key: Callable[[E], str], summary: str) -> EventSpec[E]:
    """One of the three ends of a turn; which one comes is all that differs."""
    return EventSpec(
        type=type,
        version=1,
        payload=payload,
        topic=CHAT_EVENTS,
        key=key,
        summary=summary,
        retry=PATIENTLY,
        ordered=False,
    )


CHAT_REPLY_COMPLETED = answer_end(
    "chat.reply.completed", ChatReplyCompleted, _session, "A turn ended with its whole answer handed over."
)
CHAT_REPLY_INTERRUPTED = answer_end(
    "chat.reply.interrupted",
    ChatReplyInterrupted,
    _session,
    "A turn was stopped by its caller; carries the stop receipt.",
)
CHAT_REPLY_FAILED = answer_end(
    "chat.reply.failed", ChatReplyFailed, _session, "A turn ended in an error; carries every attempt."
)


# -- frames: what reaches the gateway while a turn is answered, beside the bytes of the answer itself ----------------


class AnswerStart(Payload):
    """The START frame. `headers` are for the HTTP response.

    The session and the deadline (unix seconds) are for a gateway that takes the answer up without knowing its request.
    `kept_bytes`: the body is so long, and lies in the live store instead of coming in frames.
    """

    headers: dict[str, str]
    session_id: str
    deadline: float
    kept_bytes: int = 0


class TokenCounts(Payload):
    """Tokens of the attempt that answered, as the gateway settles them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class AnswerError(ReplyError):
    """The error the client gets; `retry_after` is in seconds, None where waiting does not help or is not known to."""

    retry_after: float | None = None


class AnswerEnd(Payload):
    """The END frame: how the answer ended, and what it cost."""

    outcome: Literal["completed", "interrupted", "failed"]
    usage: TokenCounts = TokenCounts()
    error: AnswerError | None = None


# -- signals: from gateways to whichever instance answers, and back --------------------------------------------------


class Delivered(Payload):
    """What only a gateway knows of an answer: the number of the last frame that left, and when (unix seconds)."""

    delivered: int | None = None
    last_byte_at: float | None = None


class AnswerStop(Delivered):
    """Stop one answer. `at` is unix seconds.

    `mailbox` is that of the gateway whose client left. `grace`: seconds in which the client may still take its answer
    up. `withdrawn`: the request was never accepted, so there is no turn and no fact.
    """

    request_id: str
    mailbox: str
    reason: StopReason
    at: float
    grace: float = 0.0
    withdrawn: bool = False


class SessionInterrupt(Payload):
    """Stop every answer of a session that was received before `at` (unix seconds).

    `stopped` says what had left of each at the gateway that asks. Where `reply_to` names its mailbox, the receipts go
    there as a reply to `ask_id`.
    """

    org_id: str
    session_id: str
    reason: StopReason
    at: float
    stopped: dict[str, Delivered] = Field(default_factory=dict)
    reply_to: str | None = None
    ask_id: str | None = None


class TurnReceipt(StopReceipt):
    """How the answer `id` was stopped."""

    id: str


class StopReceipts(ReplyBody):
    """What an interruption stopped."""

    receipts: tuple[TurnReceipt, ...]


class AnswerAttach(Payload):
    """Send the answer behind frame number `after` to this mailbox, and what follows too.

    `audience` is who may take it up, as `common.bus.live.kept_answers.audience_of` names it.
    """

    request_id: str
    audience: str
    mailbox: str
    after: int


class AnswerRead(Payload):
    """Everything up to frame `number` is written to the client; `mailbox` is that of the gateway which wrote it."""

    request_id: str
    mailbox: str
    number: int


class AnswerAbandoned(Payload):
    """Its answerer died after the client had heard something: nothing more comes but the reply that says so."""

    request_id: str


ANSWER_STOP = SignalSpec(kind="stop", payload=AnswerStop, summary="Stop one answer: its client has left.")
SESSION_INTERRUPT = SignalSpec(
    kind="interrupt",
    payload=SessionInterrupt,
    reply=StopReceipts,
    summary="Stop what is being said in a session; the receipts go to the gateway named in reply_to.",
)
ANSWER_ATTACH = SignalSpec(
    kind="attach", payload=AnswerAttach, summary="Send what is missing of an answer to another mailbox."
)
ANSWER_READ = SignalSpec(
    kind="read", payload=AnswerRead, summary="How far the client of an answer has got; the reply to a mark."
)
ANSWER_ABANDONED = SignalSpec(
    kind="given-up", payload=AnswerAbandoned, summary="An answer will not be finished: its answerer died."
)
