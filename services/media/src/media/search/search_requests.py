"""What is asked of search over the log."""

from common.events.envelope import Event
from common.events.reply import Reply
from common.events.search import SearchRequested, SearchResults
from common.failures import ProviderDown, Refused
from media.deps import Deps


async def search(event: Event[SearchRequested], deps: Deps) -> Reply[SearchResults]:
    """200 with passages; Refused 503 where a model is missing, or cannot be asked at the moment."""
    try:
        return Reply(await deps.documents.search.search(event.payload))
    except ProviderDown as down:
        raise Refused(503, down.message, "model_unavailable", type="api_error", headers={"retry-after": "1"}) from None
