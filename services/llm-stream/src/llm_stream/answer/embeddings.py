"""Embeddings: an upstream's vectors, read whole and handed on as the bytes that they came as.

Small answers travel in a frame like any other. Large ones would hold up the frames of everybody on the way to their
gateway: they are put into the live store in pieces, and the frame that begins the answer says so.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from common.bus.live.kept_bodies import KeptBodies
from common.bus.port import BusUnavailableError
from common.events.chat import AnswerRequested, Usage
from common.events.embeddings import EmbeddingsRequested
from common.events.token_estimate import input_tokens
from llm_stream.aliases import Upstream
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.failure import server_error
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.outlet import Outlet
from llm_stream.answer.request_fields import EMBEDDING_FIELDS, wanted_fields
from llm_stream.metrics import EMBEDDINGS_WAITING
from llm_stream.ports import UpstreamAnswer
from llm_stream.upstream.vectors import Embeddings, Wanted, read_embeddings

# Reading more than this takes milliseconds, in which nobody else would get a chunk.
BESIDE_BYTES = 256 * 1024
MAX_FRAME_BYTES = 256 * 1024
# So many vectors of 3,072 dimensions are at most about 4 MB.
MANY_INPUTS = 64
# Shared, since it holds nothing.
_AT_ONCE: AbstractAsyncContextManager[None] = nullcontext()


class LargeRequests:
    """Embeddings requests of many inputs, a few at a time: the answer of each is held in memory."""

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)

    def one(self, request: AnswerRequested) -> AbstractAsyncContextManager[None]:
        """Entered once this request may be answered, which is at once unless it is one of them."""
        many = isinstance(request, EmbeddingsRequested) and _count(request.body["input"]) > MANY_INPUTS
        return self._in_turn() if many else _AT_ONCE

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        with EMBEDDINGS_WAITING.track_inprogress():
            await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()


class HeardEmbeddings:
    """Vectors that were heard; a `HeardAnswer`."""

    def __init__(self, read: Embeddings, attempt: Attempt, frames: Outlet) -> None:
        self._frames = frames
        self._body = read.body
        self._kept_bytes = 0
        self.attempt = attempt
        self.model = read.model
        self.usage = read.usage
        self.finish_reason: str | None = None

    async def keep(self, bodies: KeptBodies, request_id: str) -> None:
        """Put a large body into the live store. Raises AnswerFailed while that does not answer."""
        if len(self._body) <= MAX_FRAME_BYTES:
            return
        try:
            await bodies.put(request_id, self._body)
        except BusUnavailableError:
            raise server_error(503, "The answer could not be handed over.", "unavailable") from None
        self._kept_bytes, self._body = len(self._body), b""

    def plain_text(self) -> None:
        """They are no text."""

    def finish(self, usage: Usage) -> None:
        """Send the vectors."""
        del usage  # told in the body
        self._frames.start(self.attempt.provider_headers, kept_bytes=self._kept_bytes)
        self._frames.emit_whole(self._body, tokens=0)


async def hear_embeddings(
    incoming: UpstreamAnswer, attempt: Attempt, answer: AnswerInProgress
) -> HeardEmbeddings | None:
    """An upstream's vectors; None where another instance answers. Raises UpstreamError."""
    body = await incoming.whole()
    if not await answer.is_ours():
        return None
    attempt.first_byte_at = time.time()
    asked = attempt.prepared.body
    wanted = Wanted(
        _count(asked["input"]),
        "base64" if asked.get("encoding_format") == "base64" else "float",
        attempt.upstream.model,
        partial(input_tokens, asked["input"]),
    )
    if len(body) > BESIDE_BYTES:
        read = await asyncio.to_thread(read_embeddings, body, wanted)
    else:
        read = read_embeddings(body, wanted)
    return HeardEmbeddings(read, attempt, answer.frames)


def _count(given: Any) -> int:
    """How many vectors an input asks for: a list of tokens is one text."""
    return len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1


def embeddings_request(body: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """The upstream's request: the caller's with our model, and vectors in the form that the upstream knows."""
    request = {**wanted_fields(body, upstream.fields, EMBEDDING_FIELDS), "model": upstream.model}
    if "base64" not in upstream.capabilities:
        # Without the field every server sends numbers.
        request.pop("encoding_format", None)
    return request
