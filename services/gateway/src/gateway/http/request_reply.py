"""Commands and queries to the services behind the log, and their replies as HTTP answers."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from common.bus.request_reply import Requester
from common.events.model_json import to_json
from common.events.reply import Reply, content
from common.events.spec import P, R, RequestSpec
from common.failures import Refused
from gateway.http.context import CALLER
from gateway.http.errors import retry_headers, timed_out
from gateway.http.idempotency import IDEMPOTENCY_HEADER, Idempotency
from gateway.http.log_quota import LogQuota

QUERY_SECONDS = 5.0
# A command may have to wait for a provider that is slow, and for one retry of it.
COMMAND_SECONDS = 20.0

# Names the ids of events that idempotency keys stand for.
EVENTS = uuid.UUID("6f1a4d0e-6c1b-4b57-9d53-0f6f0c1f7a55")


class RequestReply:
    """Asks the services on behalf of views, and answers with what they reply."""

    def __init__(self, requester: Requester, idempotency: Idempotency, quota: LogQuota) -> None:
        self._requester = requester
        self._idempotency = idempotency
        self._quota = quota

    async def ask(
        self, spec: RequestSpec[P, R], payload: P, *, timeout: float = QUERY_SECONDS, event_id: str | None = None
    ) -> Reply[R]:
        """The reply within `timeout` seconds.

        Raises Refused as the service did, with 504 where it did not reply, or with 429 where the organisation has put
        too many bytes on the log, and BusUnavailableError where the request could not be published.
        """
        org_id = getattr(payload, "org_id", None)
        if org_id is not None:
            await self._quota.take(org_id, len(to_json(payload)))
        try:
            return await self._requester.ask(spec, payload, timeout=timeout, event_id=event_id)
        except TimeoutError:
            raise timed_out() from None
        except Refused as refused:
            raise with_retry_headers(refused) from None

    async def query(self, spec: RequestSpec[P, R], payload: P) -> web.Response:
        """Ask, and answer with the reply; raises as `ask`."""
        return answer(await self.ask(spec, payload))

    async def command(
        self,
        request: web.Request,
        spec: RequestSpec[P, R],
        payload: P,
        *,
        show: Callable[[R], Any] = content,
        headers: Callable[[R], Mapping[str, str]] | None = None,
        timeout: float = COMMAND_SECONDS,
    ) -> web.Response:
        """Have something done, and answer with the result; raises as `ask`, and as `Idempotency.guard`.

        `show` is what of the reply becomes the body, `headers` derives further ones from it. With an
        `Idempotency-Key` a repetition gets the first answer. Where that was lost on the way (504, a gateway that
        died), the repetition is the same event, which is not handled twice.
        """
        # The payload says all that matters of the request.
        body = orjson.dumps(payload.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        async with self._idempotency.guard(request, request[CALLER], body, lease=timeout) as slot:
            if slot.replay is not None:
                return slot.replay
            event_id = _event_id(request, spec, body)
            reply = await self.ask(spec, payload, timeout=timeout, event_id=event_id)
            response = answer(reply, show)
            if headers is not None:
                response.headers.update(headers(reply.body))
            await slot.store(response)
            return response


def _event_id(request: web.Request, spec: RequestSpec[Any, Any], body: bytes) -> str | None:
    """The same for the same command under the same idempotency key; None without one."""
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        return None
    return str(uuid.uuid5(EVENTS, orjson.dumps([spec.name, key]).decode() + body.decode()))


def answer(reply: Reply[R], show: Callable[[R], Any] = content) -> web.Response:
    """A reply as HTTP, with what `show` makes of it as the body."""
    return web.Response(
        status=reply.status,
        body=orjson.dumps(show(reply.body)),
        content_type="application/json",
        headers=reply.headers,
    )


def with_retry_headers(refused: Refused) -> Refused:
    """The refusal of a service, with headers that say when to come back where that helps."""
    given = refused.headers.get("retry-after") or refused.details.get("retry_after")
    seconds = None if given is None else float(given)
    return replace(refused, headers={**refused.headers, **retry_headers(refused.status, seconds)})
