"""Cross-origin requests: which web pages may call this gateway from a browser; none unless the operator says so."""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANY = "*"
PREFLIGHT_SECONDS = 600
METHODS = "GET, POST, PUT, PATCH, DELETE"
# What a page may read beside the body; without this a browser hides all of it.
EXPOSED = ", ".join(
    [
        "x-request-id",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "etag",
        "location",
        "idempotency-replayed",
        "x-sonant-completion-id",
        "x-sonant-session-id",
        "x-sonant-provider",
        "x-sonant-context",
        "x-sonant-active-revision",
        "x-sonant-active-layer",
        "x-sonant-cache",
        "x-sonant-stale",
        *(f"x-ratelimit-{part}-{name}" for name in ("requests", "tokens") for part in ("limit", "remaining", "reset")),
    ]
)


def install(app: web.Application, origins: frozenset[str]) -> None:
    """Answer preflights, and let pages of these origins read answers; `*` is every origin, none changes nothing."""
    if not origins:
        return

    @web.middleware
    async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if request.method != hdrs.METH_OPTIONS or wanted is None or not _allowed(request, origins):
            return await handler(request)
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
            # Whatever the page wants to send: what a header may say is checked where it is read.
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ""),
            hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
        }
        return web.Response(status=204, headers=headers)

    async def let_read(request: web.BaseRequest, response: web.StreamResponse) -> None:
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if _allowed(request, origins):
            # No cookies are used here: a key in a header is all there is, so credentials are not allowed.
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY if ANY in origins else request.headers[hdrs.ORIGIN]
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED

    # Outside the boundary: a preflight is answered before anything looks for a route or a key.
    app.middlewares.insert(0, answer_preflight)
    app.on_response_prepare.append(let_read)


def _allowed(request: web.BaseRequest, origins: frozenset[str]) -> bool:
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and (ANY in origins or origin in origins)
