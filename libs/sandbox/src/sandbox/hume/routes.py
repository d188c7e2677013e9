"""The routes of the Hume stand-in, and the shape of what the server itself refuses there."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.hume import batch_jobs, control, measurement_files, resources, speech, token, voices
from sandbox.hume.errors import refusal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PATHS = ("/v0/", "/v1/expression/", "/oauth2-cc/", "/sandbox/hume/")


def routes() -> list[web.RouteDef]:
    """The provider's routes and the control routes."""
    return [
        *resources.routes(),
        *voices.routes(),
        *speech.routes(),
        *measurement_files.routes(),
        *batch_jobs.routes(),
        *token.routes(),
        *control.routes(),
    ]


@web.middleware
async def provider_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer unknown paths, wrong methods and bodies too large in this provider's shape."""
    if not request.path.startswith(_PATHS):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return refusal(refused.status, f"{refused.reason} ({request.method} {request.path})").response()
