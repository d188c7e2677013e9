"""An answer that is not streamed: read whole, then sent in one frame."""

import time
from typing import Any

import orjson

from common.events.chat import Usage
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.frames import Frames
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.usage import completion_tokens
from llm_stream.ports import UpstreamAnswer, UpstreamBroken


class Completion:
    """A chat completion as an upstream sent it; a `HeardAnswer`. Raises UpstreamBroken where it is none."""

    def __init__(self, body: bytes, attempt: Attempt, frames: Frames, request_id: str) -> None:
        self._content = content = _parse(body)
        content["id"] = request_id
        content.pop("system_fingerprint", None)
        self._frames = frames
        self.attempt = attempt
        self.model: str = content.get("model") or attempt.upstream.model
        usage = content.get("usage")
        self.usage: dict[str, Any] | None = usage if isinstance(usage, dict) else None
        self.finish_reason: str | None = content["choices"][0].get("finish_reason")
        attempt.tokens = completion_tokens(content)

    def finish(self, usage: Usage) -> None:
        """Send the completion."""
        self.attempt.tokens = usage.completion_tokens
        self._frames.start(self.attempt.provider_headers)
        self._frames.emit_whole(orjson.dumps(self._content), tokens=usage.completion_tokens)


async def read_whole(incoming: UpstreamAnswer, attempt: Attempt, answer: AnswerInProgress) -> Completion | None:
    """The upstream's completion; None where another instance answers. Raises UpstreamBroken."""
    body = await incoming.whole()
    if not await answer.is_ours():
        return None
    attempt.first_byte_at = time.time()
    return Completion(body, attempt, answer.frames, answer.request.request_id)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UpstreamBroken("the upstream sent a body that is not JSON") from error
    choices = content.get("choices") if isinstance(content, dict) else None
    if not isinstance(choices, list) or not choices:
        raise UpstreamBroken("the upstream sent an answer without choices")
    if any(not isinstance(c, dict) or c.get("message") is None or c.get("finish_reason") is None for c in choices):
        raise UpstreamBroken("the upstream sent an unfinished answer")
    return dict(content)
