"""Access tokens of the voice provider, for clients that speak to it themselves."""

from aiohttp import web
from pydantic import BaseModel, Field

from common.events.resources import HUME_TOKEN_REQUESTED, HumeTokenRequested
from gateway.http.fields import Query
from gateway.http.middleware import read_query
from gateway.http.request_reply import question
from gateway.http.routing import Route
from gateway.ports import Scope
from gateway.resources.request import USER_HEADER, asked_by, end_user


class AccessToken(BaseModel):
    """A short-lived token, never the key it was got with. `expiresAt` is in unix seconds."""

    access_token: str = Field(alias="accessToken")
    expires_at: int = Field(alias="expiresAt")


async def get_token(request: web.Request) -> web.Response:
    """`GET /api/hume/auth`."""
    who = asked_by(request, end_user(request))
    read_query(request, Query)
    response = await question(request, HUME_TOKEN_REQUESTED, HumeTokenRequested(**who))
    response.headers["cache-control"] = "no-store"
    return response


ROUTES = [
    Route(
        "GET",
        "/api/hume/auth",
        get_token,
        "Get a short-lived access token of the voice provider",
        scope=Scope.RESOURCES,
        query=Query,
        headers={USER_HEADER: "The end user inside the organisation; without it the answer is 401."},
        response=AccessToken,
        errors=(502, 503, 504),
        sends=("x-sonant-provider",),
        tags=("auth",),
    )
]
