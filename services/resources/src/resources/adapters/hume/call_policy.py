"""How Hume is called: its limits, and what the errors of its client library mean."""

import httpx
import pydantic
from hume.core.api_error import ApiError

from common.events.backoff import Backoff
from common.failures import ProviderDown, Refused
from common.providers.breaker import Breaker
from common.providers.policy import CallLimits, Policy, no_answer
from common.providers.provider_registry import ProviderRegistry
from common.providers.retry_after import retry_after

PROVIDER = "hume"
# A caller of ours waits for the whole operation, tries and reconciliation included.
LIMITS = CallLimits(connect_seconds=1.0, first_byte_seconds=3.0, total_seconds=5.0, concurrency=16)
# A query is given up after 5 s: before that somebody has to have said that the provider is silent.
QUERY_SECONDS = 4.0
# One who can be answered from the copy waits only this long.
BRIEF_SECONDS = 2.0
# What the provider says about itself is quoted, not repeated at length.
MAX_QUOTED = 500
# A write that is looked up before each try may be tried as often as a read.
WRITE_BACKOFF = Backoff(attempts=2, first=0.1, ceiling=1.0)
UNCONFIGURED = "No key for an account at the voice provider is configured for this organisation."

TIMEOUT = httpx.Timeout(LIMITS.first_byte_seconds, connect=LIMITS.connect_seconds)
# ValueError is a body that is no JSON, no text or not what the library expects of it.
NOT_UNDERSTOOD = (httpx.HTTPError, ValueError)

# The request as such was understood and refused; another try would only repeat it.
OURS = {400: 400, 404: 404, 409: 409, 422: 400}
# Our account is at fault, which the caller can do nothing about.
ACCOUNT = frozenset({401, 402, 403})
CODES = {400: "provider_refused", 404: "not_found", 409: "conflict"}


def hume_policy(
    account: str = "",
    *,
    configured: bool = True,
    limits: CallLimits = LIMITS,
    breaker: Breaker | None = None,
    registry: ProviderRegistry | None = None,
) -> Policy:
    """The policy of one account; `account` is its name in the metrics."""
    return Policy(
        PROVIDER,
        verdict,
        account=account,
        configured=configured,
        unconfigured=UNCONFIGURED,
        limits=limits,
        breaker=breaker,
        registry=registry,
    )


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error of the library means, None for one that is not of a call; `details` hold the provider's status
    and code."""
    if isinstance(error, NOT_UNDERSTOOD):
        return no_answer(error)
    if not isinstance(error, ApiError):
        return None
    status, body = error.status_code or 0, _document(error.body)
    if status < 300:
        return ProviderDown("The provider did not answer with JSON.")
    if status in ACCOUNT:
        message = f"The provider does not accept our account: {_text(body) or status}."
        return Refused(502, message, "provider_refused_us", type="api_error", details=_details(status, body))
    # Without the API's own document somebody else answered, such as a proxy, or what is left of a service.
    if status in OURS and body:
        own = OURS[status]
        message = f"The provider says: {_text(body) or status}"
        return Refused(own, message, CODES[own], details=_details(status, body))
    wait = retry_after(error.headers or {})
    return ProviderDown(f"The provider failed with status {status}.", status=status, retry_after=wait)


def _document(body: object) -> dict[str, object]:
    if isinstance(body, pydantic.BaseModel):
        return body.model_dump(exclude_none=True)
    return body if isinstance(body, dict) else {}


def _text(body: dict[str, object]) -> str:
    fault = body.get("fault")
    said = body.get("message") or body.get("error") or (fault.get("faultstring") if isinstance(fault, dict) else None)
    return str(said or body.get("detail") or "")[:MAX_QUOTED]


def _details(status: int, body: dict[str, object]) -> dict[str, object]:
    code = body.get("code")
    return {"provider_status": status} | ({"provider_code": code} if isinstance(code, str) else {})
