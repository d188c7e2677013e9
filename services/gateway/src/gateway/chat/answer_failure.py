"""An answer that failed before anything was said, as the HTTP error it becomes."""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from common.bus.live.frames import Frame, FrameKind
from common.bus.request_reply import read_refusal
from common.events.chat import AnswerEnd
from common.failures import Refused
from gateway.http.errors import retry_headers, unauthorized


def revoked() -> Refused:
    """The key of an answer ended while it was written."""
    return unauthorized("This API key was revoked.")


def raise_failure(frame: Frame, headers: Mapping[str, str]) -> None:
    """Raise Refused, with these headers, for an END or REPLY frame that reports an error; an END may report none."""
    if frame.kind == FrameKind.REPLY:
        # The kernel could not handle the request at all.
        refused = read_refusal(orjson.loads(frame.payload))
        own = {**headers, **retry_headers(refused.status, None)}
        raise replace(refused, headers=own)
    error = AnswerEnd.model_validate_json(frame.payload).error
    if error is None:
        return
    # Never sooner than a second: clients would all come back at once.
    seconds = None if error.retry_after is None else max(1.0, error.retry_after)
    own = {**headers, **retry_headers(error.status, seconds)}
    raise Refused(error.status, error.message, error.code, error.param, error.type, headers=own)
