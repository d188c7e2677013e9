"""Handing out access tokens of the voice provider."""

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import AccessToken
from common.events.resources import HumeTokenRequested
from resources.deps import Deps


async def issue(event: Event[HumeTokenRequested], deps: Deps) -> Reply[AccessToken]:
    """200 with a token; 502 with the provider's status.

    503 `provider_unconfigured` where the organisation has no account there, or its secret key is missing.
    """
    tokens = deps.provider_of(event.payload.org_id).tokens
    token = await tokens.get()
    access = AccessToken(access_token=token.value, expires_at=int(token.expires_at))
    return Reply(access, headers={"x-sonant-provider": tokens.provider})
