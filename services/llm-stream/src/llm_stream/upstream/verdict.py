"""What an upstream's error means for the attempt that met it."""

from collections.abc import Mapping

from common.providers.retry_after import retry_after
from llm_stream.ports import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRefused
from llm_stream.upstream.errors import ErrorKind, ReportedError

REFUSALS = frozenset({ErrorKind.REFUSED, ErrorKind.FILTERED, ErrorKind.TOO_LONG})
# Waiting does not help against these.
EXHAUSTED = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def verdict(reported: ReportedError, headers: Mapping[str, str] | None = None) -> UpstreamError:
    """The failure to raise; `headers` are the answer's, in lower case."""
    kind, reason, code = reported.kind, reported.reason, reported.code
    if kind in REFUSALS:
        return UpstreamRefused(
            reason,
            status=reported.status if reported.status is not None and 400 <= reported.status < 500 else 400,
            code=code,
            type=reported.type,
            param=reported.param,
            too_long=kind is ErrorKind.TOO_LONG,
            filtered=kind is ErrorKind.FILTERED,
        )
    if kind is ErrorKind.RATE_LIMITED:
        told = headers or {}
        exhausted = code in EXHAUSTED or reported.type in EXHAUSTED or told.get("x-should-retry") == "false"
        return UpstreamBusy(reason, retry_after=retry_after(told), exhausted=exhausted, code=code)
    if kind is ErrorKind.OURS:
        return UpstreamBroken(reason, status=reported.status, code=code, ours=True)
    return UpstreamBroken(reason, status=reported.status, code=code, ours=False, retry_after=retry_after(headers or {}))
