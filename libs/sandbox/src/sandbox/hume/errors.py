"""Errors in the shapes of the Hume API."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

# The vendor's families: malformed JSON, wrong structure, wrong input, and `I` for its own.
CODES = {400: "E0102", 401: "E0001", 403: "E0002", 404: "E0708", 409: "E0710", 410: "E0410", 429: "E0429"}
_NAMES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict", 410: "gone", 429: "rate_limited"}


class HumeError(Exception):
    """An error to be answered; `body` is the whole JSON document."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """The answer for this error."""
        return json_response(self.body, self.status, self.headers)


def refusal(
    status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> HumeError:
    """An error of the voice routes: `{code, error, message}`."""
    code = code or CODES.get(status, "I0100" if status >= 500 else "E0102")
    name = _NAMES.get(status, "internal_error" if status >= 500 else "invalid_request")
    return HumeError(status, {"code": code, "error": name, "message": message}, headers)


def invalid(message: str, code: str | None = None) -> HumeError:
    """A request that cannot be served as it is: 400."""
    return refusal(400, message, code=code)


def unprocessable(field: str, message: str, place: str = "body") -> HumeError:
    """An error of the speech routes: 422 with one `detail`."""
    return HumeError(422, {"detail": [{"loc": [place, field], "msg": message, "type": "value_error"}]})


def bad_key() -> HumeError:
    """The answer of the gateway in front of the API to a key it does not know: 401."""
    fault = {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2.InvalidApiKey"}}
    return HumeError(401, {"fault": fault})


def json_response(payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=orjson.dumps(payload), content_type="application/json", headers=headers)
