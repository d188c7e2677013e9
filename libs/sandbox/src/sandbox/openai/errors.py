"""Errors in the shape of the OpenAI API."""

from collections.abc import Mapping

import orjson
from aiohttp import web

TYPES = {
    401: "invalid_request_error",
    403: "invalid_request_error",
    429: "requests",
    500: "server_error",
}
CODES = {401: "invalid_api_key", 403: "unsupported_country_region_territory", 429: "rate_limit_exceeded"}


class ApiError(Exception):
    """An error to be answered: status, the four members of the error object, and further headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        numbers: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        # What the message counts, for a dialect that words it differently.
        self.numbers = dict(numbers or {})
        self.content_type = "application/json"
        self.status = status
        self.message = message
        self.param = param
        self.code = code or CODES.get(status)
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """The error type that goes with the status."""
        if self.code == "insufficient_quota":
            return "insufficient_quota"
        return TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    def body(self) -> bytes:
        """The error object as JSON."""
        return error_body(self.message, self.type, self.param, self.code)


def error_body(message: str, kind: str, param: str | None, code: str | None) -> bytes:
    """Return `{"error": {message, type, param, code}}`; all four keys are always there."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that cannot be served as it is: 400."""
    return ApiError(400, message, param=param, code=code)


def no_such_model(model: str) -> ApiError:
    """The model does not exist: 404 model_not_found."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, param="model", code="model_not_found")


def error_response(error: ApiError, headers: Mapping[str, str]) -> web.Response:
    """Return the answer for an error."""
    return web.Response(
        status=error.status,
        body=error.body(),
        content_type=error.content_type,
        headers={**headers, **error.headers},
    )
