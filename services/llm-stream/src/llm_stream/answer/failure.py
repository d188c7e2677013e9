"""Why there is no answer, as the client is told."""

from common.events.chat import ReplyError
from llm_stream.ports import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused


class AnswerFailed(Exception):
    """There is no whole answer; `error` is what the client is told, `retry_after` is in seconds."""

    def __init__(self, error: ReplyError, retry_after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after = retry_after


def refused(refusal: UpstreamRefused) -> AnswerFailed:
    """The upstream's own refusal, passed on."""
    return AnswerFailed(
        ReplyError(
            status=refusal.status or 400,
            message=str(refusal),
            type=refusal.type or "invalid_request_error",
            code=refusal.code,
            param=refusal.param,
        )
    )


def failed(failure: UpstreamError, soonest: float = 0.0) -> AnswerFailed:
    """What the client is told about a failure; an upstream comes back in `soonest` seconds at the earliest."""
    if isinstance(failure, UpstreamBusy):
        code = failure.code or "rate_limit_exceeded"
        busy = ReplyError(status=429, message=str(failure), type="rate_limit_error", code=code)
        return AnswerFailed(busy, retry_after=None if failure.exhausted else max(soonest, 0.001))
    if failure.code == "unconfigured":
        message = f"The provider of this model is not configured: {failure}."
        unconfigured = ReplyError(status=503, message=message, type="server_error", code="provider_unconfigured")
        return AnswerFailed(unconfigured, retry_after=60.0)
    # What a provider says about our key or our model name is for the operator, who finds it in the fact.
    reason = "its provider refused this service's own settings" if failure.ours else str(failure)
    silent = isinstance(failure, UpstreamBroken) and failure.silent
    told = isinstance(failure, UpstreamBroken) and failure.retry_after is not None and soonest > 0
    return AnswerFailed(
        ReplyError(
            status=504 if silent else 502,
            message=f"The model could not answer: {reason}.",
            type="server_error",
            code="upstream_timeout" if silent else "upstream_error",
        ),
        retry_after=soonest if told else None,
    )


def resting(*, rate_limited: bool, soonest: float) -> AnswerFailed:
    """Nobody was asked: all upstreams rest as they wished to, or their breakers are open."""
    if rate_limited:
        message = "Every upstream of this model is rate limited."
        error = ReplyError(status=429, message=message, type="rate_limit_error", code="rate_limit_exceeded")
    else:
        message = "Every upstream of this model is resting after failures."
        error = ReplyError(status=503, message=message, type="server_error", code="upstreams_unavailable")
    return AnswerFailed(error, retry_after=soonest)


def too_late() -> AnswerFailed:
    """The deadline has passed, or leaves no time for an attempt."""
    return server_error(504, "The answer was not complete before the deadline.", "deadline_exceeded")


def busy() -> AnswerFailed:
    """No place came free for this organisation, which has its share of them."""
    message = "Too many requests of this organisation are under way: come back in a moment."
    return AnswerFailed(ReplyError(status=503, message=message, type="server_error", code="busy"), retry_after=1.0)


def server_error(status: int, message: str, code: str) -> AnswerFailed:
    """The fault is on our side."""
    return AnswerFailed(ReplyError(status=status, message=message, type="server_error", code=code))


def bad_request(status: int, message: str, *, param: str | None = None, code: str | None = None) -> AnswerFailed:
    """The fault is in the request."""
    error = ReplyError(status=status, message=message, type="invalid_request_error", param=param, code=code)
    return AnswerFailed(error)
