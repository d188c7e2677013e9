"""Answering for access tokens of the voice provider."""

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resources import HumeTokenRequested
from resources.deps import Deps


async def issue(event: Event[HumeTokenRequested], deps: Deps) -> Reply:
    """200 `{"accessToken", "expiresAt"}`, in unix seconds; 502 with the provider's status.

    503 `provider_unconfigured` where the organisation has no account there, or its secret key is missing.
    """
    tokens = deps.provider_of(event.payload.org_id).tokens
    token = await tokens.get()
    headers = {"x-sonant-provider": tokens.provider}
    return Reply({"accessToken": token.value, "expiresAt": int(token.expires_at)}, headers=headers)
