"""Streamed answers of OpenAI's client: read by the caller as before, and gathered on the way."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable
from typing import Any

from huggingplace.openai_fields import Fields, ending_fields, merged, response_fields, usage_fields

# Of the text that is gathered; a stream without an end must not fill the memory.
MOST_CHARS = 1_000_000

Defer = Callable[[Callable[[], None]], None]
Finish = Callable[[Fields, "BaseException | None"], None]


class Gathered:
    """What a stream has said so far."""

    def __init__(self, api: str) -> None:
        self.api = api
        self.first_at: float | None = None
        self._fields: Fields = {}
        self._texts: dict[int, list[str]] = {}
        self._calls: dict[tuple[int, int], Fields] = {}
        self._reasons: dict[int, Any] = {}
        self._chars = 0

    def add(self, piece: Any) -> None:
        """One chunk or event."""
        if self.api == "responses":
            self._add_event(piece)
        else:
            self._add_chunk(piece)

    def fields(self) -> Fields:
        """What is logged of it."""
        if self.api == "responses" and "response" in self._fields:
            return self._fields
        said = [self._choice(index) for index in sorted({*self._texts, *(index for index, _ in self._calls)})]
        found = {"response": said[0] if len(said) == 1 else said or "", **self._fields}
        return merged(found, ending_fields([self._reasons[index] for index in sorted(self._reasons)]))

    def _add_chunk(self, chunk: Any) -> None:
        model = getattr(chunk, "model", None)
        if isinstance(model, str) and model:
            self._fields["llm_model"] = model[:256]
        if getattr(chunk, "usage", None) is not None:
            self._fields.update(usage_fields(chunk.usage))
        for choice in getattr(chunk, "choices", None) or ():
            index, delta = choice.index, getattr(choice, "delta", None)
            text = (
                getattr(choice, "text", None) if delta is None else (delta.content or getattr(delta, "refusal", None))
            )
            self._say(index, text)
            for call in getattr(delta, "tool_calls", None) or ():
                self._add_call(index, call)
            if choice.finish_reason is not None:
                self._reasons[index] = choice.finish_reason

    def _add_event(self, event: Any) -> None:
        if event.type in ("response.output_text.delta", "response.refusal.delta"):
            self._say(0, event.delta)
        elif event.type in ("response.completed", "response.failed", "response.incomplete"):
            self._fields = response_fields(event.response)
        elif event.type == "error":
            self._fields["error"] = {"type": str(event.code), "message": str(event.message)[:2000]}

    def _add_call(self, index: int, call: Any) -> None:
        gathered = self._calls.setdefault((index, call.index), {"id": None, "name": None, "arguments": ""})
        gathered["id"] = call.id or gathered["id"]
        function = call.function
        if function is not None:
            gathered["name"] = function.name or gathered["name"]
            piece = function.arguments or ""
            self._mark(piece)
            if self._chars <= MOST_CHARS:
                gathered["arguments"] += piece

    def _say(self, index: int, text: Any) -> None:
        if isinstance(text, str) and text:
            self._mark(text)
            if self._chars <= MOST_CHARS:
                self._texts.setdefault(index, []).append(text)

    def _mark(self, text: str) -> None:
        self._chars += len(text)
        if self.first_at is None:
            self.first_at = time.perf_counter()

    def _choice(self, index: int) -> Any:
        text = "".join(self._texts.get(index, ()))
        calls = [call for (of, _), call in sorted(self._calls.items()) if of == index]
        return {"content": text or None, "tool_calls": calls} if calls else text


class _Watched:
    """What a stream's pieces pass on their way to the caller. However it ends, that is noted once."""

    def __init__(self, iterator: Any, gathered: Gathered, finish: Finish, defer: Defer) -> None:
        self._iterator = iterator
        self._defer = defer
        self._gathered = gathered
        self._finish = finish
        self._is_over = False
        self._pid = os.getpid()

    def end(self, error: BaseException | None = None, *, interrupted: bool = False, deferred: bool = False) -> None:
        if self._is_over:
            return
        self._is_over = True
        fields = self._gathered.fields()
        if interrupted and "status" not in fields:
            fields["status"] = "interrupted"
        if self._gathered.first_at is not None:
            fields["first_at"] = self._gathered.first_at
        act = functools.partial(self._finish, fields, error)
        if deferred:
            self._defer(act)
        else:
            act()

    def _note(self, piece: Any) -> None:
        try:
            self._gathered.add(piece)
        except (AttributeError, TypeError, ValueError):
            return  # a piece of another shape is the caller's all the same

    def __del__(self) -> None:
        # A fork has a copy of a stream that its parent reads.
        if self._pid == os.getpid():
            self.end(interrupted=True, deferred=True)


class WatchedIterator(_Watched):
    """For streams that are iterated."""

    def __iter__(self) -> WatchedIterator:
        return self

    def __next__(self) -> Any:
        try:
            piece = self._iterator.__next__()
        except StopIteration:
            self.end()
            raise
        except BaseException as error:
            self.end(error, interrupted=is_interruption(error))
            raise
        self._note(piece)
        return piece


class WatchedAsyncIterator(_Watched):
    """For streams that are iterated asynchronously."""

    def __aiter__(self) -> WatchedAsyncIterator:
        return self

    async def __anext__(self) -> Any:
        try:
            piece = await self._iterator.__anext__()
        except StopAsyncIteration:
            self.end()
            raise
        except BaseException as error:
            self.end(error, interrupted=is_interruption(error))
            raise
        self._note(piece)
        return piece


def watch(stream: Any, api: str, finish: Finish, defer: Defer) -> bool:
    """Gather what a stream says while its caller reads it, and finish at its end; whether it can be watched."""
    iterator = getattr(stream, "_iterator", None)
    is_async = hasattr(iterator, "__anext__")
    if not is_async and not hasattr(iterator, "__next__"):
        return False
    watched = (WatchedAsyncIterator if is_async else WatchedIterator)(iterator, Gathered(api), finish, defer)
    stream._iterator = watched  # noqa: SLF001 - the client has no hook, and callers expect its own kind of stream
    close = stream.close
    # Who stops reading closes it; what was said up to then is what there is.
    if is_async:

        async def close_async() -> None:
            watched.end(interrupted=True)
            await close()

        stream.close = close_async
    else:

        def close_sync() -> None:
            watched.end(interrupted=True)
            close()

        stream.close = close_sync
    return True


def is_interruption(error: BaseException) -> bool:
    """Whether the caller ended it, and nothing was wrong."""
    return isinstance(error, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt))
