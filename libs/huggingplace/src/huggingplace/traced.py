"""The decorator `trace`: every call of a function is a step, with what went in and what came out."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import (
    Any,
    Callable,
    TypeVar,
    cast,
    overload,
)

from huggingplace import current
from huggingplace.log_writer import Recorder
from huggingplace.step import Step

F = TypeVar("F", bound=Callable[..., Any])

# Of what is captured by itself: longer texts and lists are cut, other objects are named by their kind.
MOST_TEXT = 10_000
MOST_ENTRIES = 100
MOST_LEVELS = 4

_default: weakref.ref[Recorder] | None = None


def set_default(recorder: Recorder | None, *, instead_of: Recorder | None = None) -> None:
    """Make this the one for functions that name no client, unless there is one already."""
    global _default
    present = _default() if _default is not None else None
    if present is None or present is instead_of:
        _default = weakref.ref(recorder) if recorder is not None else None


@overload
def trace(function: F) -> F: ...
@overload
def trace(*, name: str | None = None, type: str = "chain", capture: bool = True) -> Callable[[F], F]: ...
def trace(function: Any = None, **options: Any) -> Any:
    """Make every call of a function a step: `@trace`, or `@trace(name="rerank", type="retrieval", capture=False)`.

    Functions, coroutines and generators of both kinds. Arguments and result are its input and output, unless `capture`
    is False; `self` is left out. It records with the client of the running step or session, or else with the first
    client of the process; without one the function just runs.
    """
    return traced(function, **options)


def traced(function: Any = None, *, recorder: Recorder | None = None, **options: Any) -> Any:
    """As `trace`, with the client of `recorder`."""
    if function is None:
        return lambda given: traced(given, recorder=recorder, **options)
    call = _Call(function, recorder, **options)
    if inspect.isasyncgenfunction(function):
        return _as_async_generator(function, call)
    if inspect.iscoroutinefunction(function):
        return _as_coroutine(function, call)
    if inspect.isgeneratorfunction(function):
        return _as_generator(function, call)
    return functools.wraps(function)(lambda *args, **kwargs: call.result(args, kwargs))


# What follows are functions of the kind that they wrap, so that frameworks take them for what they are.


def _as_coroutine(function: Any, call: _Call) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await call.awaited(args, kwargs)

    return wrapper


def _as_generator(function: Any, call: _Call) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from call.items(args, kwargs))

    return wrapper


def _as_async_generator(function: Any, call: _Call) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        step, generator = call.begun(args, kwargs), cast("AsyncGenerator[Any, Any]", function(*args, **kwargs))
        items: list[Any] = []
        advance, sent = generator.asend, None
        try:
            while True:
                try:
                    with current.within(current.step, step or current.step.get()):
                        item = await advance(sent)
                except StopAsyncIteration:
                    break
                _collect(items, item)
                try:
                    advance, sent = generator.asend, (yield item)
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - what is thrown in is the generator's to catch
                    advance, sent = generator.athrow, error
        except BaseException as error:
            call.ended(step, items, None if isinstance(error, GeneratorExit) else error)
            raise
        call.ended(step, items, None)

    return wrapper


class _Call:
    """A function and how its calls are recorded."""

    def __init__(
        self,
        function: Callable[..., Any],
        recorder: Recorder | None,
        *,
        name: str | None = None,
        type: str = "chain",
        capture: bool = True,
    ) -> None:
        self._function = function
        self._recorder = recorder
        self._name = name or getattr(function, "__qualname__", None) or type
        self._type = type
        self._capture = capture
        self._signature = _signature(function)

    def result(self, args: Any, kwargs: Any) -> Any:
        step = self._step(args, kwargs)
        if step is None:
            return self._function(*args, **kwargs)
        with step:
            result = self._function(*args, **kwargs)
            self._note(step, result)
            return result

    async def awaited(self, args: Any, kwargs: Any) -> Any:
        step = self._step(args, kwargs)
        if step is None:
            return await self._function(*args, **kwargs)
        with step:
            result = await self._function(*args, **kwargs)
            self._note(step, result)
            return result

    def items(self, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
        """What a generator yields; its step is the running one while it runs, and not while its consumer does."""
        step, generator = self._step(args, kwargs), self._function(*args, **kwargs)
        if step is None:
            return (yield from generator)
        items: list[Any] = []
        step.begin()
        try:
            result = yield from _Stepwise(generator, step, items)
        except BaseException as error:
            self._note_items(step, items)
            step.end(None if isinstance(error, GeneratorExit) else error)
            raise
        self._note_items(step, items)
        step.end()
        return result

    def begun(self, args: Any, kwargs: Any) -> Step | None:
        """The step of a call that begins now; None where nothing records it."""
        step = self._step(args, kwargs)
        if step is not None:
            step.begin()
        return step

    def ended(self, step: Step | None, items: list[Any], error: BaseException | None) -> None:
        """A generator has ended, by `error` or by itself."""
        if step is not None:
            self._note_items(step, items)
            step.end(error)

    def _step(self, args: Any, kwargs: Any) -> Step | None:
        recorder = self._recorder or _recorder_here()
        if recorder is None:
            return None
        step = recorder.step(self._name, {"type": self._type})
        if self._capture:
            step.input = self._arguments(args, kwargs)
        return step

    def _arguments(self, args: Any, kwargs: Any) -> Any:
        try:
            bound = self._signature.bind(*args, **kwargs).arguments if self._signature else {}
        except TypeError:
            return None  # the call itself says what is wrong
        return {name: short(value) for name, value in bound.items() if name not in ("self", "cls")}

    def _note(self, step: Step, result: Any) -> None:
        if self._capture and step.output is None:
            step.output = short(result)

    def _note_items(self, step: Step, items: list[Any]) -> None:
        if self._capture and step.output is None:
            joins = items and all(isinstance(item, str) for item in items)
            step.output = "".join(items)[:MOST_TEXT] if joins else [short(item) for item in items]


class _Stepwise:
    """A generator whose step is the running one only while it runs itself."""

    def __init__(self, generator: Generator[Any, Any, Any], step: Step, items: list[Any]) -> None:
        self._generator = generator
        self._step = step
        self._items = items

    def __iter__(self) -> _Stepwise:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        with current.within(current.step, self._step):
            item = self._generator.send(value)
        _collect(self._items, item)
        return item

    def throw(self, *error: Any) -> Any:
        with current.within(current.step, self._step):
            item = self._generator.throw(*error)
        _collect(self._items, item)
        return item

    def close(self) -> None:
        with current.within(current.step, self._step):
            self._generator.close()


def short(value: Any, levels: int = MOST_LEVELS) -> Any:
    """What is kept of a value that nobody asked to be kept: the begin of texts and lists, the kind of anything else."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if len(value) <= MOST_TEXT else value[:MOST_TEXT] + "…"
    if levels > 0 and isinstance(value, dict):
        pairs: dict[str, Any] = {
            str(name): short(inner, levels - 1) for name, inner in list(value.items())[:MOST_ENTRIES]
        }
        return pairs
    if levels > 0 and isinstance(value, (list, tuple)):
        return [short(inner, levels - 1) for inner in value[:MOST_ENTRIES]]
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _collect(items: list[Any], item: Any) -> None:
    if len(items) < MOST_ENTRIES * 10:
        items.append(short(item))


def default_recorder() -> Recorder | None:
    """That of the first client of the process which is open."""
    return _default() if _default is not None else None


def _recorder_here() -> Recorder | None:
    step, session = current.step.get(), current.session.get()
    if step is not None:
        return step.trace.recorder
    if session is not None:
        return session.recorder
    return default_recorder()


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None
