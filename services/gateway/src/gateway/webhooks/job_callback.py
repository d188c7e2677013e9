"""Callbacks of providers about jobs: a hint to look now, which is all that an unsigned message is good for."""

from aiohttp import web

from common.bus.port import BusUnavailableError
from common.events.media import JOB_HINT, JobHint
from common.jobs.callback_token import job_of
from common.secret_box import secret_keys
from gateway.deps import DEPS
from gateway.http.body import read_body
from gateway.http.errors import not_found, unavailable
from gateway.metrics import WEBHOOKS_RECEIVED
from gateway.webhooks.views import Acknowledged

# It is read, so that the connection can be used again, and thrown away.
MAX_BODY_BYTES = 64 * 1024


async def receive_runware(request: web.Request) -> web.Response:
    """`POST /webhooks/runware/{token}`."""
    deps = request.app[DEPS]
    job_id = job_of(secret_keys(deps.settings.secret_keys.get_secret_value()), request.match_info["token"])
    if job_id is None:
        WEBHOOKS_RECEIVED.labels("runware", "unknown_token").inc()
        raise not_found("There is no such address.", code="unknown_url")
    await read_body(request, MAX_BODY_BYTES)
    try:
        await deps.live.signal(JOB_HINT, JobHint(job_id=job_id))
    except BusUnavailableError as error:
        # Sent again, or not: whoever does the job asks the provider all the same.
        raise unavailable("The hint cannot be passed on right now.") from error
    WEBHOOKS_RECEIVED.labels("runware", "published").inc()
    body = Acknowledged(received=True, duplicate=False)
    return web.Response(body=body.model_dump_json().encode(), content_type="application/json")
