"""What the use cases need from outside: an upstream that streams, and its failures sorted by what to do."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from common.events.search import SearchRequested, SearchResults
from common.events.session_summary import RollingSummary
from common.events.session_turns import SessionHistory, SessionTurn
from llm_stream.aliases import Upstream

# The statuses below 500 that the same upstream may take back.
TRANSIENT = frozenset({408, 409, 425, 429})


class UpstreamError(Exception):
    """An attempt failed; `status` is the upstream's HTTP status where it sent one."""

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def ours(self) -> bool:
        """Our own configuration is at fault (key, address, model): the same upstream would only say it again."""
        return False


class UpstreamBroken(UpstreamError):
    """5xx, reset, silence, a cut or malformed stream: somebody else may do better.

    `retry_after` is in seconds, None when not told.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        silent: bool = False,
        ours: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.silent = silent
        self.retry_after = retry_after
        self._ours = ours

    @property
    def ours(self) -> bool:
        if self._ours is not None:
            return self._ours
        return self.code == "unconfigured" or ((self.status or 500) < 500 and self.status not in TRANSIENT)


class UpstreamBusy(UpstreamError):
    """429. `retry_after` is in seconds, None when not told; with `exhausted` waiting does not help."""

    def __init__(self, message: str, *, retry_after: float | None, exhausted: bool, code: str | None = None) -> None:
        super().__init__(message, status=429, code=code)
        self.retry_after = retry_after
        self.exhausted = exhausted


class UpstreamRefused(UpstreamError):
    """A refusal that another try would only repeat; `type` and `param` are the upstream's own.

    `too_long`: the conversation does not fit the model. `filtered`: refused on grounds of content.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        too_long: bool = False,
        filtered: bool = False,
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.type = type
        self.param = param
        self.too_long = too_long
        self.filtered = filtered


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an attempt may be silent, in seconds; `first_byte` is the limit of the whole where it is not streamed.

    `minimum_rate` is in tokens a second; 0 is no limit.
    """

    connect: float
    first_byte: float
    idle: float
    minimum_rate: float = 0.0


class Said(IntEnum):
    """What a payload says: nothing (it is no sign of life), something, how the answer ends, or that all has been said.

    Behind the end of the answer only its usage is to come.
    """

    NOTHING = 0
    SOMETHING = 1
    LAST = 2
    ALL = 3


# Takes one `data:` payload; after `Said.ALL` no other is wanted.
Take = Callable[[bytes], Said]


class UpstreamAnswer(Protocol):
    """An answer that is arriving from an upstream."""

    async def relay(self, take: Take) -> None:
        """Hand over the `data:` payloads of the SSE body where they arrive, until all was said or the body ends.

        Raises UpstreamBroken on silence (payloads that say nothing are silence), a reset or a body cut short, and
        whatever `take` raises.
        """
        ...

    async def whole(self, grew: Callable[[int], None] | None = None) -> bytes:
        """The body of an answer that is not streamed; `grew` is told how many bytes arrived. Raises UpstreamBroken."""
        ...

    def pause(self) -> None:
        """Read and hand over nothing until `resume`: the upstream has to wait, and its silence means nothing."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def close(self) -> None:
        """Close the connection to the upstream itself, now; a pending read ends with UpstreamBroken."""
        ...


class Endpoint(StrEnum):
    """What an upstream is asked for: the path behind its base URL."""

    CHAT = "/chat/completions"
    EMBEDDINGS = "/embeddings"


class ChatModel(Protocol):
    """An OpenAI-compatible server."""

    def ask(
        self, upstream: Upstream, body: dict[str, Any], patience: Patience, endpoint: Endpoint = Endpoint.CHAT
    ) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Send a request; entered once the upstream accepted it.

        Raises UpstreamBroken, UpstreamBusy or UpstreamRefused.
        """
        ...


class TokenizerUnavailable(Exception):
    """A tokenizer cannot be loaded; the message says why."""


class Tokenizer(Protocol):
    """Counts tokens as a model does."""

    def count(self, text: str) -> int:
        """The tokens of a text, whatever is in it."""
        ...


class Tokenizers(Protocol):
    """Those that are known."""

    def of_model(self, model: str) -> str | None:
        """The name of the tokenizer that a model has, by the model's name; None where it is not known."""
        ...

    def load(self, name: str) -> Tokenizer:
        """The tokenizer of that name; to be called beside the loop. Raises TokenizerUnavailable."""
        ...


class ToolError(Exception):
    """A tool came to nothing; the message is for the model that called it, and tells nothing secret."""


class ToolServer(Protocol):
    """Somebody's HTTP server that is a tool."""

    async def post(self, url: str, body: bytes, *, secret: str | None, id: str, seconds: float) -> bytes:
        """What it answers to `body`, signed with `secret` where there is one; `id` names the call.

        Raises ToolError where the address may not be called, answers no success, too much, or not within `seconds`.
        """
        ...


class ModerationUnavailable(Exception):
    """Nobody can say whether a text is to be heard; the message is for the log."""


class Moderator(Protocol):
    """Who says what is not to be heard."""

    async def check(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """For each text the categories it is flagged for, none where it is clean. Raises ModerationUnavailable."""
        ...


class CacheUnavailable(Exception):
    """The store of the cache does not answer."""


class AnswerStore(Protocol):
    """Where answers are kept for exact repeats. Every method raises CacheUnavailable."""

    async def get(self, key: str) -> bytes | None:
        """What is kept under a key."""
        ...

    async def put(self, org_id: str, key: str, value: bytes, seconds: float) -> None:
        """Keep a value of an organisation, and let the oldest go where there is too much."""
        ...

    async def drop(self, key: str) -> None:
        """Keep nothing under a key."""
        ...

    async def take(self, key: str, owner: str, seconds: float) -> bool:
        """Whether `owner` is the one to make what belongs there, for so long."""
        ...

    async def release(self, key: str, owner: str) -> None:
        """It is made, or given up."""
        ...


class Passages(Protocol):
    """Who searches the documents of an organisation."""

    async def search(self, wanted: SearchRequested, *, timeout: float) -> SearchResults:
        """What fits, within `timeout` seconds. Raises TimeoutError, Refused and BusUnavailableError."""
        ...


class Weather(Protocol):
    """Who knows the weather."""

    async def report(self, place: str) -> dict[str, Any]:
        """The weather there now: `place`, `temperature_c`, `wind_kmh`, `weather`. Raises ToolError."""
        ...


@dataclass(frozen=True, slots=True)
class HotSession:
    """What the live store holds of a session. `whole`: all of its turns that have texts are among them.

    `running` are turns that have not ended yet, with when each was received and until when it may run (unix seconds).
    `deleted_at`: turns that were received until then are gone.
    """

    turns: tuple[SessionTurn, ...] = ()
    whole: bool = False
    cut: bool = False
    running: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    deleted_at: float | None = None
    summary: RollingSummary | None = None


class SessionCopies(Protocol):
    """Copies of sessions in the live store, for the turn that comes next. Raises BusUnavailableError while it is away.

    What is written with a turn's end has no wait of its own: it is there before the last frame of the answer is.
    """

    async def open(self, org_id: str, session_id: str, running: tuple[str, float, float] | None) -> HotSession:
        """What there is; `running` is a turn that begins: its id, when it was received, and until when it may run."""
        ...

    def queue_ended(self, org_id: str, turn: SessionTurn, *, fresh: bool) -> None:
        """Keep a turn that has ended; `fresh` where its session had none before."""
        ...

    def queue_left(self, org_id: str, session_id: str, request_id: str) -> None:
        """A turn that was begun is not kept."""
        ...

    def queue_summary(self, summary: RollingSummary, org_id: str) -> None:
        """Keep a summary that was made, unless one that was asked for later is there, or its turns were deleted."""
        ...

    async def begin_summary(self, org_id: str, session_id: str, seconds: float) -> bool:
        """Whether nobody is at a summary of the session; for so long this process is."""
        ...

    async def fill(self, org_id: str, session_id: str, history: SessionHistory) -> None:
        """Add what telemetry knows; from then on the copy is whole."""
        ...

    async def note_spoken(self, org_id: str, session_id: str, request_id: str, heard: tuple[int, str]) -> None:
        """Note how many characters of an answer were heard, and who said so."""
        ...

    async def delete(self, org_id: str, session_id: str, request_id: str | None, at: float) -> None:
        """Forget one turn, or all that were received until `at`; what of them ends later is not kept."""
        ...

    async def ended_turn(self, request_id: str) -> bytes | None:
        """The payload of the fact about a turn that ended a moment ago; None where it is gone."""
        ...


class SessionArchive(Protocol):
    """Where sessions are kept durably. Raises Refused, TimeoutError or BusUnavailableError where it does not answer."""

    async def history(self, org_id: str, session_id: str) -> SessionHistory:
        """All that is kept of a session; empty where there is none."""
        ...

    async def turn(self, org_id: str, request_id: str) -> SessionTurn | None:
        """One turn."""
        ...
