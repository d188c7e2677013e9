"""Questions and commands of views to the services behind the log, and their replies as HTTP answers."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel

from common.events.reply import Reply
from common.events.reply import content as content_of
from common.events.spec import EventSpec, P
from common.failures import Refused
from gateway.deps import DEPS
from gateway.http.errors import RETRY_SECONDS, come_back, timed_out
from gateway.http.idempotency import HEADER
from gateway.ports import CALLER

QUESTION_SECONDS = 5.0
# A command may have to wait for a provider that is slow, and for one retry of it.
COMMAND_SECONDS = 20.0

# Names the ids of events that idempotency keys stand for.
EVENTS = uuid.UUID("6f1a4d0e-6c1b-4b57-9d53-0f6f0c1f7a55")

# What of a successful reply's body is shown, and how.
Shape = Callable[[Any], Any]


async def ask(
    request: web.Request,
    spec: EventSpec[P],
    payload: P,
    *,
    timeout: float = QUESTION_SECONDS,
    event_id: str | None = None,
) -> Reply:
    """The reply to a question; raises ApiError 504, and BusUnavailableError where it could not be published."""
    try:
        return await request.app[DEPS].asker.ask(spec, payload, timeout=timeout, event_id=event_id)
    except TimeoutError:
        raise timed_out() from None
    except Refused as refused:
        return Reply(refused.body(), refused.status, refused.headers)


async def question(request: web.Request, spec: EventSpec[P], payload: P, *, shape: Shape | None = None) -> web.Response:
    """Ask, and answer with the reply."""
    return answer(await ask(request, spec, payload), shape)


async def command(
    request: web.Request,
    spec: EventSpec[P],
    payload: P,
    *,
    shape: Shape | None = None,
    headers: Callable[[Any], Mapping[str, str]] | None = None,
    timeout: float = COMMAND_SECONDS,
) -> web.Response:
    """Have something done, and answer with the result; `headers` derives further ones from the reply's body.

    With an `Idempotency-Key` a repetition gets the first answer. Where that was lost on the way (504, a gateway that
    died), the repetition is the same event, which is not handled twice.
    """
    idempotency, caller = request.app[DEPS].idempotency, request[CALLER]
    # The payload says all that matters of the request.
    content = orjson.dumps(payload.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    async with idempotency.guard(request, caller, content, lease=timeout) as slot:
        if slot.replay is not None:
            return slot.replay
        reply = await ask(request, spec, payload, timeout=timeout, event_id=_event_id(request, spec, content))
        response = answer(reply, shape)
        if response.status < 400:
            response.headers.update(headers(_content(reply)) if headers else {})
            await slot.store(response)
        return response


def _event_id(request: web.Request, spec: EventSpec[Any], content: bytes) -> str | None:
    """The same for the same command under the same idempotency key; None without one."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    return str(uuid.uuid5(EVENTS, orjson.dumps([spec.name, key]).decode() + content.decode()))


def answer(reply: Reply, shape: Shape | None = None) -> web.Response:
    """A reply as HTTP; errors come in the one shape already, and are told when to come back where that helps."""
    failed, content = reply.status >= 400, _content(reply)
    body = content if failed or shape is None else shape(content)
    headers = {**reply.headers, **_retry_headers(reply)} if failed else reply.headers
    return web.Response(status=reply.status, body=orjson.dumps(body), content_type="application/json", headers=headers)


def _content(reply: Reply) -> Any:
    return content_of(reply.body) if isinstance(reply.body, BaseModel) else reply.body


def _retry_headers(reply: Reply) -> dict[str, str]:
    told = reply.headers.get("retry-after") or reply.body["error"].get("retry_after")
    if told is None and reply.status not in (429, 503):
        return {}
    return come_back(float(told or RETRY_SECONDS))
