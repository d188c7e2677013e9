"""The routes of webhooks."""

from collections.abc import Sequence

from gateway.http.routing import Route
from gateway.ports import Work
from gateway.webhooks.job_callback import receive_hume_batch, receive_runware
from gateway.webhooks.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER
from gateway.webhooks.views import Acknowledged, HumeWebhook, receive_hume

ROUTES: Sequence[Route] = [
    Route(
        "POST",
        "/webhooks/hume",
        receive_hume,
        "Take in a webhook of the voice provider",
        request=HumeWebhook,
        response=Acknowledged,
        headers={
            SIGNATURE_HEADER: "HMAC-SHA256 over body, dot and timestamp, as lower-case hex.",
            TIMESTAMP_HEADER: "Unix seconds; at most 180 from now.",
        },
        errors=(401, 404, 503),
        work=Work.DELIVERY,
        tags=("webhooks",),
        description="Proven by its signature, not by an API key. Acknowledged once the log has it, which survives the "
        "crash of any process; docs/durability.md says what a power cut loses. A repetition is acknowledged and "
        "changes nothing.",
    ),
    Route(
        "POST",
        "/webhooks/runware/{token}",
        receive_runware,
        "Take in a webhook of the video provider",
        response=Acknowledged,
        errors=(400, 401, 404, 408, 413, 503),
        work=Work.DELIVERY,
        tags=("webhooks",),
        description="The address is a secret of one job. What the webhook says is not believed: the provider is asked.",
    ),
    Route(
        "POST",
        "/webhooks/hume-batch/{token}",
        receive_hume_batch,
        "Take in a callback of a job of expression measurement",
        response=Acknowledged,
        errors=(400, 401, 404, 408, 413, 503),
        work=Work.DELIVERY,
        tags=("webhooks",),
        description="The address is a secret of one job. What the webhook says is not believed: the provider is asked.",
    ),
]
