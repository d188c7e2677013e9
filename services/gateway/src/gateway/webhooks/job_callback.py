"""Callbacks of providers about jobs: a hint to look now, which is all that an unsigned message is good for."""

import asyncio

from aiohttp import web

from common.bus.port import BusUnavailableError
from common.events.media import JOB_HINT, JobHint
from common.failures import Refused
from common.jobs.callback_token import job_of
from common.secret_box import secret_keys
from gateway.deps import DEPS
from gateway.http.body import UNREADABLE
from gateway.http.errors import bad_request, not_found, too_large, unavailable
from gateway.metrics import WEBHOOKS_RECEIVED
from gateway.webhooks.views import Acknowledged

# It is read, so that the connection can be used again, and thrown away.
MAX_BODY_BYTES = 64 * 1024
MAX_PREDICTIONS_BYTES = 64 * 1024 * 1024
BODY_SECONDS = 30.0


async def receive_runware(request: web.Request) -> web.Response:
    """`POST /webhooks/runware/{token}`."""
    return await _hinted(request, "runware")


async def receive_hume_batch(request: web.Request) -> web.Response:
    """`POST /webhooks/hume-batch/{token}`: it may carry all that was found."""
    return await _hinted(request, "hume-batch", max_bytes=MAX_PREDICTIONS_BYTES)


async def _hinted(request: web.Request, provider: str, *, max_bytes: int = MAX_BODY_BYTES) -> web.Response:
    deps = request.app[DEPS]
    keys = secret_keys(deps.settings.secret_keys.get_secret_value())
    if not keys:
        WEBHOOKS_RECEIVED.labels(provider, "unconfigured").inc()
        raise not_found("Callbacks are not set up here.", code="unconfigured")
    job_id = job_of(keys, request.match_info["token"])
    if job_id is None:
        WEBHOOKS_RECEIVED.labels(provider, "unknown_token").inc()
        raise Refused(401, "This address is of no job.", "invalid_token")
    await _drained(request, max_bytes)
    try:
        await deps.live.signal(JOB_HINT, JobHint(job_id=job_id))
    except BusUnavailableError as error:
        # Sent again, or not: whoever does the job asks the provider all the same.
        raise unavailable("The hint cannot be passed on right now.") from error
    WEBHOOKS_RECEIVED.labels(provider, "published").inc()
    body = Acknowledged(received=True, duplicate=False)
    return web.Response(body=body.model_dump_json().encode(), content_type="application/json")


async def _drained(request: web.Request, max_bytes: int) -> None:
    """Read a body and keep nothing of it. Raises Refused 413, 408 or 400."""
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while chunk := await request.content.readany():
                size += len(chunk)
                if size > max_bytes:
                    raise too_large(max_bytes)
    except UNREADABLE:
        raise bad_request("The request body could not be read.", code="invalid_body") from None
    except TimeoutError:
        raise Refused(408, "The request body did not arrive in time.", "request_timeout") from None
