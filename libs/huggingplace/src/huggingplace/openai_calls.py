"""`patch_openai`: every call of a client of OpenAI's package is logged, streamed ones and failed ones too."""

from __future__ import annotations

import contextvars
import functools
import inspect
import time
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingplace import current
from huggingplace.errors import ConfigurationError, HuggingPlaceError
from huggingplace.log_writer import Recorder
from huggingplace.openai_fields import Fields, answer_fields, merged, request_fields
from huggingplace.openai_streams import is_interruption, watch

C = TypeVar("C")

# What is patched: where it hangs on the client, and which of its methods.
_CALLS = (
    ("chat.completions", ("create", "parse")),
    ("responses", ("create", "parse")),
    ("completions", ("create",)),
    ("embeddings", ("create",)),
)
_COPIES = ("copy", "with_options")
_MARK = "_huggingplace"
_RAW_HEADER = "X-Stainless-Raw-Response"
AS = ("interaction", "step")


def patch_openai(client: C, recorder: Recorder, *, as_: str = "interaction") -> C:
    """The same client, each of whose calls is logged. Raises ConfigurationError: it is no client of `openai`."""
    if as_ not in AS:
        raise ConfigurationError(f"as_ must be one of {', '.join(AS)}, not {as_!r}.")
    if not hasattr(client, "chat") or not hasattr(client, "base_url"):
        raise ConfigurationError(f"patch_openai takes a client of openai, not {type(client).__name__}.")
    if getattr(client, _MARK, None) is recorder:
        return client
    provider = _provider(client)
    for api, methods in _CALLS:
        place = functools.reduce(lambda found, name: getattr(found, name, None), api.split("."), client)  # type: ignore[arg-type,return-value]
        for method in methods:
            original = getattr(place, method, None)
            if original is not None:
                call = _Call(recorder, api, provider, as_)
                setattr(place, method, _wrapped(original, call))
    for name in _COPIES:
        if hasattr(client, name):
            setattr(client, name, _patching(getattr(client, name), recorder, as_))
    setattr(client, _MARK, recorder)
    return client


def _patching(copy: Any, recorder: Recorder, as_: str) -> Any:
    @functools.wraps(copy)
    def patched_copy(*args: Any, **kwargs: Any) -> Any:
        return patch_openai(copy(*args, **kwargs), recorder, as_=as_)

    return patched_copy


def _wrapped(original: Any, call: _Call) -> Any:
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            running = call.begin(kwargs)
            return await _awaited(original(*args, **kwargs), running)

        return asynchronous

    @functools.wraps(original)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        running = call.begin(kwargs)
        try:
            answer = original(*args, **kwargs)
        except BaseException as error:
            running.fail(error)
            raise
        # Methods of asynchronous clients look like others behind what decorates them.
        return _awaited(answer, running) if inspect.isawaitable(answer) else running.answered(answer)

    return synchronous


async def _awaited(answer: Any, running: _Running) -> Any:
    try:
        given = await answer
    except BaseException as error:
        running.fail(error)
        raise
    return running.answered(given)


class _Call:
    """One method of one client."""

    def __init__(self, recorder: Recorder, api: str, provider: str, as_: str) -> None:
        self.recorder = recorder
        self.api = api
        self.provider = provider
        self.as_ = as_

    def begin(self, kwargs: dict[str, Any]) -> _Running:
        return _Running(self, kwargs)


class _Running:
    """One call, from its beginning to its one entry in the log. Nothing here is ever raised to the caller."""

    def __init__(self, call: _Call, kwargs: dict[str, Any]) -> None:
        self._call = call
        self._began_at = time.time()
        self._began = time.perf_counter()
        # A stream may end in another task than it began in.
        self._context = contextvars.copy_context()
        self._is_raw = any(name.lower() == _RAW_HEADER.lower() for name in kwargs.get("extra_headers") or ())
        self._asked: Fields = {}
        self._safely(lambda: self._asked.update(request_fields(call.api, kwargs)))

    def answered(self, answer: Any) -> Any:
        """The answer as it came; a stream is logged when it has ended."""
        try:
            seen = self._parsed(answer) if self._is_raw else answer
            if not self._asked.get("metadata", {}).get("stream") or not self._watch(seen):
                self._end({} if seen is None else answer_fields(self._call.api, seen), None)
        except Exception as error:  # noqa: BLE001 - the caller's answer is not to be lost by our log
            self._tell(error)
        return answer

    def fail(self, error: BaseException) -> None:
        self._end({"status": "interrupted"} if is_interruption(error) else {}, error)

    def _end(self, said: Fields, error: BaseException | None) -> None:
        self._safely(lambda: self._context.run(self._log, said, error))

    def _log(self, said: Fields, error: BaseException | None) -> None:
        fields = merged({**self._asked, "provider": self._call.provider, "timestamp": self._began_at}, said)
        first_at = fields.pop("first_at", None)
        fields["response_time"] = round((time.perf_counter() - self._began) * 1000, 3)
        if first_at is not None:
            fields["first_token_ms"] = round((first_at - self._began) * 1000, 3)
        if error is not None and fields.get("status") != "interrupted":
            fields["error"] = error
        step = current.step.get()
        if self._call.as_ == "step" and (step is not None or current.session.get() is not None):
            self._log_step(fields)
            return
        if step is not None and step.trace.recorder is self._call.recorder:
            # It may have ended by now, and is where the call was made all the same.
            fields.update(trace_id=step.trace.id, parent_id=step.id)
        self._call.recorder.log(fields, takes_steps=False)

    def _log_step(self, fields: Fields) -> None:
        metadata = {name: value for name, value in fields.items() if name.endswith("_tokens") or name == "llm_model"}
        given = {"input": fields.get("user_prompt"), "output": fields.get("response"), "type": "llm"}
        step = self._call.recorder.step(self._call.api, {**given, "metadata": {**fields["metadata"], **metadata}})
        step.end_as(fields["timestamp"], fields["response_time"], fields.get("error"))

    def _watch(self, stream: Any) -> bool:
        return watch(stream, self._call.api, self._end, self._call.recorder.keeper.defer)

    def _parsed(self, answer: Any) -> Any:
        """What is inside a raw answer that was read; None where reading it is left to the caller."""
        is_read = type(answer).__name__ == "LegacyAPIResponse"
        return answer.parse() if is_read else None

    def _safely(self, act: Any) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        told = (
            error
            if isinstance(error, HuggingPlaceError)
            else HuggingPlaceError(f"A call was not logged: {error!r:.300}")
        )
        self._call.recorder.keeper.teller.tell(told)


def _provider(client: Any) -> str:
    """Whose models they are, as the address says."""
    if "Azure" in type(client).__name__:
        return "azure"
    host = urlsplit(str(client.base_url)).hostname or "openai"
    return "openai" if host.endswith("openai.com") else host[:256]
