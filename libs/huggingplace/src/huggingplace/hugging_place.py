"""The client for programs that do not await."""

from __future__ import annotations

import os
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from huggingplace.errors import ClosedError, ConfigurationError
from huggingplace.interaction import LogFields, ScoreValue, SessionFields
from huggingplace.keeper import Keeper
from huggingplace.log_writer import Recorder
from huggingplace.openai_calls import C, patch_openai
from huggingplace.options import Options, Settings, read_options
from huggingplace.session_log import Session, SessionState
from huggingplace.step import Step
from huggingplace.traced import default_recorder, set_default, traced

if TYPE_CHECKING:
    from typing_extensions import Unpack

FLUSH_SECONDS = 5.0


class BaseClient:
    """What both kinds of client have. The first one of a process is what `huggingplace.trace` records with."""

    def __init__(
        self, api_key: str | None = None, org_id: str | None = None, mode: str | None = None, **settings: Any
    ) -> None:
        given = {"api_key": api_key, "org_id": org_id, "mode": mode, **settings}
        self._keeper = Keeper(read_options(given, os.environ))
        self._open_recorder = Recorder(self._keeper)
        set_default(self._open_recorder)
        # Sessions, steps and traced functions hold the recorder as the client does.
        weakref.finalize(self._open_recorder, self._keeper.retire).atexit = False

    @property
    def options(self) -> Options:
        """How it is set up."""
        return self._keeper.options

    def counters(self) -> dict[str, int]:
        """What happened to what was logged, in numbers; see `huggingplace.counters`.

        `waiting` are interactions, steps and scores that are not delivered yet, `spool_bytes` and `memory_bytes` what
        lies on the disk and in memory, `halted` is 1 where the key was refused and sending has stopped.
        """
        return self._keeper.snapshot()

    def step(self, name: str, **given: Any) -> Step:
        """A step, inside the one that is running: `with client.step("retrieve") as step:`.

        `type`, `input`, `output` and `metadata` may be given here, or set on the step. Raises ValidationError.
        """
        return self._recorder.step(name, given)

    def trace(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """As `huggingplace.trace`, with this client."""
        return traced(function, recorder=self._recorder, **options)

    def patch_openai(self, openai_client: C, *, as_: str = "interaction") -> C:
        """The same client of `openai`, synchronous or not, each of whose calls is logged: whole, streamed, failed.

        `chat.completions`, `responses`, `completions` and `embeddings`. In a step or a session a call belongs to that;
        with `as_="step"` it is a step of the interaction that you log there, and no interaction of its own.

        Raises ConfigurationError: it is no client of `openai`. Raises ClosedError.
        """
        return patch_openai(openai_client, self._recorder, as_=as_)

    @property
    def _recorder(self) -> Recorder:
        if self._keeper.is_closed:
            raise ClosedError("The client was closed.")
        return self._open_recorder

    def _close(self, timeout: float | None) -> bool:
        if self._keeper.is_closed:
            return True
        self._open_recorder.keep_waiting()
        self._keeper.is_closed = True
        set_default(None, instead_of=self._open_recorder)
        return self._keeper.close(self.options.exit_timeout if timeout is None else timeout)


class HuggingPlace(BaseClient):
    """Logs interactions with language models. One for a process is enough; it may be used from any thread.

    Raises ConfigurationError where it cannot work as it is set up.
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            api_key: str | None = None,
            org_id: str | None = None,
            mode: str | None = None,
            **settings: Unpack[Settings],
        ) -> None: ...

    def log(self, **fields: Unpack[LogFields]) -> str:
        """Keep an interaction for its delivery; returns its id.

        It is in the spool when this returns, and survives the end of the process. What goes wrong on the way to the
        server is told to `on_error`, and never raised.

        Raises ValidationError: an argument has the wrong type or value. Raises ClosedError.
        """
        return self._recorder.log(fields)

    def score(self, interaction_id: str, name: str, value: ScoreValue, **given: Any) -> str:
        """Keep a score of an interaction: a number, a text or a truth value; returns the score's id.

        `comment`, `source` (`user`, `model`, `api`), `user_id`, `metadata` and `timestamp` may be given.
        Raises ValidationError or ClosedError.
        """
        return self._recorder.score(interaction_id, name, value, given)

    def start_session(self, session_id: str | None = None, **defaults: Unpack[SessionFields]) -> Session:
        """A conversation; without an id it gets a new one. What else is given goes into each of its interactions.

        Raises ValidationError or ClosedError.
        """
        return Session(SessionState(self._recorder, session_id, defaults))

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Whether all that was logged up to now was delivered, or refused for good, within `timeout` seconds."""
        return self._keeper.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Deliver what can be within `timeout` seconds (`exit_timeout`), and end; whether that was all.

        What is in the spool and not delivered is sent by the next client.
        """
        return self._close(timeout)

    def __enter__(self) -> HuggingPlace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def patch(openai_client: C, client: BaseClient | None = None, *, as_: str = "interaction") -> C:
    """As `HuggingPlace.patch_openai`, with `client`, or else with the first client of the process.

    Raises ConfigurationError: there is none, or it is no client of `openai`.
    """
    recorder = client._recorder if client is not None else default_recorder()  # noqa: SLF001 - our own
    if recorder is None:
        raise ConfigurationError("There is no client yet: make a HuggingPlace first.")
    return patch_openai(openai_client, recorder, as_=as_)
