"""Whole resources of an account at Hume, a few at a time."""

from collections.abc import Sequence
from functools import partial

from common.events.resource_terms import Kind
from common.failures import Refused
from common.providers.policy import Budget
from resources.adapters.hume.api import MAX_PAGE_SIZE, HumeApi, all_of
from resources.adapters.hume.shapes import item
from resources.ports import Item, Stock

# Few enough for their versions to be fetched within the time of one command.
RESOURCES_PER_PAGE = 5
PAGE_SECONDS = 20.0


class HumeSource:
    """The port `Source` on the provider's API; of voices the custom ones."""

    def __init__(self, api: HumeApi) -> None:
        self._api = api

    async def stock(self, kind: Kind, page: int) -> Stock:
        budget = self._api.begin(PAGE_SECONDS)
        if kind == "voice":
            shown, pages = await self._api.voices(budget, "CUSTOM_VOICE", page=page, size=MAX_PAGE_SIZE)
            return Stock([[item(kind, each)] for each in shown], page + 1 < pages)
        shown, pages = await self._api.page(budget, kind, name=None, page=page, size=RESOURCES_PER_PAGE)
        whole = [await self._versions(budget, kind, item(kind, each).id) for each in shown]
        return Stock([versions for versions in whole if versions], page + 1 < pages)

    async def _versions(self, budget: Budget, kind: Kind, id: str) -> Sequence[Item]:
        """All versions, oldest first; none of a resource that is deleted meanwhile."""
        get_page = partial(self._api.versions, budget, kind, id, size=MAX_PAGE_SIZE)
        try:
            found = [item(kind, each) async for each in all_of(get_page)]
        except Refused as refused:
            if refused.status != 404:
                raise
            return []
        return sorted(found, key=lambda each: each.version)
