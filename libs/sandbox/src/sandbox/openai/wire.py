"""The bytes of a chat stream, with everything that repeats between chunks encoded once."""

import secrets
import time
from typing import Any

import orjson

FINGERPRINT = "fp_sandbox"
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"
MALFORMED = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"del\n\n'
STREAM_ERROR = (
    b'data: {"error":{"message":"The server had an error while processing your request.",'
    b'"type":"server_error","param":null,"code":"server_error"}}\n\n'
)


def completion_id() -> str:
    """Return a fresh completion id."""
    return f"chatcmpl-{secrets.token_hex(12)}"


class ChunkWriter:
    """Writes the chunks of one stream; each method returns a whole SSE event."""

    def __init__(self, model: str, *, with_usage: bool) -> None:
        self.with_usage = with_usage
        head = {
            "id": completion_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        self._head = b"data: " + orjson.dumps(head)[:-1]
        self._end = b'],"usage":null}\n\n' if with_usage else b"]}\n\n"
        self._tail = b',"logprobs":null,"finish_reason":null}' + self._end
        self._opening = self._head + b',"choices":[{"index":0,"delta":'

    def delta(self, index: int, delta: dict[str, Any]) -> bytes:
        """A delta of one choice."""
        if index == 0:
            return self._opening + orjson.dumps(delta) + self._tail
        opening = b',"choices":[{"index":%d,"delta":' % index
        return self._head + opening + orjson.dumps(delta) + self._tail

    def sure_delta(self, index: int, delta: dict[str, Any], logprobs: object) -> bytes:
        """A delta of one choice with the logprobs of what it says."""
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
        return self._head + b',"choices":[' + orjson.dumps(choice) + self._end

    def role(self, index: int) -> bytes:
        """The opening chunk of a choice that answers in words."""
        return self.delta(index, {"role": "assistant", "content": "", "refusal": None})

    def finish(self, index: int, reason: str) -> bytes:
        """The closing chunk of a choice."""
        closing = b',"choices":[{"index":%d,"delta":{},"logprobs":null,"finish_reason":' % index
        return self._head + closing + orjson.dumps(reason) + b"}" + self._end

    def usage(self, usage: dict[str, Any]) -> bytes:
        """The usage chunk, which has no choices."""
        return self._head + b',"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n"
