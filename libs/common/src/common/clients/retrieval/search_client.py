"""Search in the documents of an organisation, answered by media."""

from common.bus.request_reply import Requester
from common.events.search import SEARCH_REQUESTED, SearchRequested, SearchResults


class SearchClient:
    """Asks for passages."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    async def search(self, wanted: SearchRequested, *, timeout: float) -> SearchResults:
        """The passages, within `timeout` seconds.

        Raises TimeoutError, Refused as media did, and BusUnavailableError where the question could not be published.
        """
        return (await self._requester.ask(SEARCH_REQUESTED, wanted, timeout=timeout)).body
