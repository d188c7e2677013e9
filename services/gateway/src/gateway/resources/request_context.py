"""What requests about resources have in common: who they speak for, which set they mean, what they build on."""

import re
from typing import Any

from aiohttp import web

from common.events.resource_terms import DEFAULT_PROJECT, Layer, SetScope
from gateway.http.context import CALLER
from gateway.http.end_user import end_user
from gateway.http.errors import bad_request

IF_MATCH = "If-Match"
# A revision, and during a rollout its candidate and share.
ETAG = re.compile(r'"((0|[1-9][0-9]{0,9})(?:-[1-9][0-9]{0,9}-[0-9.e+-]{1,24})?)"')
MAX_BODY_BYTES = 1024 * 1024


def requested_by(request: web.Request, user_id: str) -> dict[str, str]:
    """The fields of every command and query; `user_id` is empty where no end user is named."""
    caller = request[CALLER]
    return {"org_id": caller.org_id, "key_id": caller.key_id, "user_id": user_id}


def scope_of(request: web.Request, layer: Layer, project_id: str | None) -> SetScope:
    """The scope a request means; raises Refused 401 or 400."""
    if layer == "user":
        return SetScope(layer=layer, project_id=project_id or DEFAULT_PROJECT, user_id=end_user(request))
    if layer == "organization" and project_id is not None:
        raise bad_request("Invalid 'projectId': the organization's set is that of no project.", "projectId")
    return SetScope(layer=layer, project_id="" if layer == "organization" else project_id or DEFAULT_PROJECT)


def one_of(query: str | None, body: str | None, param: str) -> str | None:
    """What may stand in the query or in the body; raises Refused 400 where both differ."""
    if query is not None and body is not None and query != body:
        raise bad_request(f"Invalid '{param}': the query and the body name different ones.", param, "invalid_value")
    return body if query is None else query


def if_match(request: web.Request) -> dict[str, Any]:
    """The fields of a command for what the caller saw last; raises Refused 400 for any other precondition."""
    given = request.headers.get(IF_MATCH)
    if given is None:
        return {}
    found = ETAG.fullmatch(given.strip())
    if found is None:
        raise bad_request(f"Invalid '{IF_MATCH}': the ETag of the set, such as \"3\".", IF_MATCH, "invalid_value")
    return {"if_match": int(found[2]), "if_etag": found[1]}
