"""The end user a request speaks for, inside the caller's organisation, and the ids that callers choose."""

from aiohttp import web

from common.failures import Refused
from gateway.http.errors import bad_request

USER_HEADER = "x-user-id"
# Ids of sessions and users become part of record keys and labels; a URL with a hash fits.
MAX_ID = 200


def end_user(request: web.Request) -> str:
    """The end user; raises Refused 401 where none is named, 400 for an id that cannot be."""
    if USER_HEADER not in request.headers:
        message = f"Which user this is about is missing: send the header '{USER_HEADER}'."
        headers = {"www-authenticate": "Bearer"}
        raise Refused(401, message, "user_required", USER_HEADER, headers=headers)
    return checked_id(request.headers[USER_HEADER], USER_HEADER)


def any_user(request: web.Request) -> str | None:
    """The end user, or None where a request names none; raises Refused 400 for an id that cannot be."""
    return end_user(request) if USER_HEADER in request.headers else None


def checked_id(value: str, param: str) -> str:
    """`value`, an id a caller chose; raises Refused 400 naming `param` where it is empty, long or not printable."""
    if not 0 < len(value) <= MAX_ID or not value.isprintable():
        raise bad_request(f"Invalid '{param}': 1 to {MAX_ID} printable characters.", param, "invalid_value")
    return value
