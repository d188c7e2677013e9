"""Resolving active sets for those who read them from the cache, and keeping the cache up with what changed."""

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.resource_replies import ActiveEntries
from common.events.resources import ActiveResolveRequested, ActiveSwitched, ResourceChanged
from resources.deps import Deps
from resources.scopes import first_scope, key_of


async def resolve(event: Event[ActiveResolveRequested], deps: Deps) -> Reply[ActiveEntries]:
    """200 with the scopes that apply as they are in the cache now."""
    query = event.payload
    key = key_of(first_scope(query.project_id, query.user_id), query.user_id)
    entries = await deps.cache.resolve(query.org_id, *key)
    return Reply(ActiveEntries(entries=tuple(entry.decode() for entry in entries)))


async def on_switched(event: Event[ActiveSwitched], deps: Deps) -> None:
    """See to it that the cache knows of a switch."""
    await deps.cache.take(event.payload)


async def on_changed(event: Event[ResourceChanged], deps: Deps) -> None:
    """See to it that the cache knows of a change to a resource."""
    await deps.cache.take(event.payload)
