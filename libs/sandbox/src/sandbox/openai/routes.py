"""The routes of the OpenAI stand-in and the shape of what they refuse."""

import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.openai import chat, embeddings, models, moderations, rerank, speech
from sandbox.openai.calls import answer_headers, check_key, observed
from sandbox.openai.errors import ApiError, error_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes() -> list[web.RouteDef]:
    """Return the provider's routes."""
    return [
        web.post("/v1/chat/completions", observed(chat.answer)),
        web.post("/v1/embeddings", observed(embeddings.answer)),
        web.post("/v1/rerank", observed(rerank.answer)),
        web.post("/v1/audio/speech", observed(speech.answer)),
        web.post("/v1/moderations", observed(moderations.answer)),
        web.get("/v1/models", _guarded(models.list_models)),
        web.get("/v1/models/{id:.+}", _guarded(models.get_model)),
    ]


def _guarded(answer: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        headers = answer_headers(f"req_{secrets.token_hex(16)}", time.monotonic())
        try:
            check_key(request)
            response = await answer(request)
        except ApiError as error:
            return error_response(error, headers)
        response.headers.update(headers)
        return response

    return handle


@web.middleware
async def provider_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer the server's own refusals (unknown path, wrong method, body too large) in the provider's shape."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        path = f"{request.method} {request.path}"
        message = f"Invalid URL ({path})" if refused.status == 404 else f"{refused.reason} ({path})"
        return error_response(ApiError(refused.status, message), answer_headers("req_none", time.monotonic()))
