"""What the gateway notes on a request while it is answered."""

from aiohttp import web

from gateway.ports import Caller

# There on every route that asks for a scope.
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
# There on every request, for correlation only: callers may send their own and repeat it.
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
# How long the body was, unpacked, where it was read as JSON.
BODY_BYTES: web.RequestKey[int] = web.RequestKey("body_bytes", int)
# What a refusal is called, where the request ended in one.
ERROR_CODE: web.RequestKey[str] = web.RequestKey("error_code", str)
# Which answer a request led to; it goes with every answer and every error the request ends in.
COMPLETION: web.RequestKey[str] = web.RequestKey("completion", str)
COMPLETION_HEADER = "x-sonant-completion-id"
