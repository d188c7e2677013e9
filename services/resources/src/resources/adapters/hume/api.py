"""The package `hume` as the catalogue uses it: one method per operation, whatever the kind."""

import functools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
from hume import AsyncHumeClient
from hume.core.pydantic_utilities import UniversalBaseModel
from hume.core.request_options import RequestOptions

from common.events.resource_terms import Kind
from common.failures import ProviderDown, Refused
from common.providers.policy import Budget, Policy
from resources.adapters.hume.call_policy import BRIEF_SECONDS, PROVIDER, QUERY_SECONDS, TIMEOUT
from resources.adapters.hume.shapes import whole
from resources.ports import not_found

Shown = UniversalBaseModel

# The library repeats writes on its own, without a way to tell that they were repeats.
ONCE: RequestOptions = {"max_retries": 0}
MAX_PAGE_SIZE = 100
# The library's own pagers go on until an empty page; a provider that ignores the page number has none.
MAX_PAGES = 50
# Each account has its own limit; one that fills a common pool would stop the others.
LIMITS = httpx.Limits(max_connections=None)
# Our page, and how many there are at the provider.
Shelf = tuple[Sequence[Shown], int]


@dataclass(frozen=True, slots=True)
class Account:
    """Where the provider is and as whom we speak to it; without a key nothing is asked of it."""

    base_url: str
    api_key: str = field(repr=False)
    secret_key: str = field(default="", repr=False)
    provider: str = PROVIDER


class HumeApi:
    """Prompts, tools and configs with versions, and voices. Raises `Refused` and `ProviderDown`.

    The library takes an error with an empty body for success and answers None; the policy does not.
    """

    def __init__(self, client: AsyncHumeClient, policy: Policy) -> None:
        self._evi = {
            "prompt": client.empathic_voice.prompts,
            "tool": client.empathic_voice.tools,
            "config": client.empathic_voice.configs,
        }
        self._voices = client.tts.voices
        self._policy = policy

    def begin(self, seconds: float | None = None) -> Budget:
        """The time of an operation, for which somebody waits longer than usual where `seconds` are given."""
        return self._policy.begin(seconds)

    def begin_query(self) -> Budget:
        """The time of an operation that changes nothing."""
        return self._policy.begin(at_most=QUERY_SECONDS)

    def begin_brief(self) -> Budget:
        """The time of an operation that can do without the provider."""
        return self._policy.begin(at_most=BRIEF_SECONDS)

    # -- reading ---------------------------------------------------------------------------------------------------

    async def page(self, budget: Budget, kind: Kind, *, name: str | None, page: int, size: int) -> Shelf:
        """The latest versions."""
        named = {} if name is None else {"name": name}
        options = {"page_number": page, "page_size": size, "restrict_to_most_recent": True, **named}
        return await self._paged(budget, kind, f"list_{kind}s", self._of(kind, "list", "s"), options)

    async def versions(
        self, budget: Budget, kind: Kind, id: str, *, page: int, size: int, latest: bool = False
    ) -> Shelf:
        """The versions of one, or the latest only."""
        list_versions = functools.partial(self._of(kind, "list", "_versions"), path_id(kind, id))
        options = {"page_number": page, "page_size": size, "restrict_to_most_recent": latest}
        return await self._paged(budget, kind, f"list_{kind}_versions", list_versions, options)

    async def voices(self, budget: Budget, provider: str, *, page: int, size: int) -> Shelf:
        """The voices of `HUME_AI` or `CUSTOM_VOICE`; left to itself the provider begins with the oldest."""
        options = {"provider": provider, "page_number": page, "page_size": size, "ascending_order": False}
        return await self._paged(budget, "voice", "list_voices", self._voices.list, options)

    async def version(self, budget: Budget, kind: Kind, id: str, version: int) -> Shown:
        """One version."""
        get_version = self._of(kind, "get", "_version")
        send = functools.partial(get_version, path_id(kind, id), version, request_options=ONCE)
        return _checked(kind, await self._policy.read(budget, f"get_{kind}_version", send))

    # -- writing, once ---------------------------------------------------------------------------------------------

    async def create(self, budget: Budget, kind: Kind, body: Mapping[str, Any]) -> Shown:
        """A resource with version 0; not repeated."""
        create = self._voices.create if kind == "voice" else self._of(kind, "create", "")
        send = functools.partial(create, **body, request_options=ONCE)
        return _checked(kind, await self._policy.once(budget, f"create_{kind}", send))

    async def create_version(self, budget: Budget, kind: Kind, id: str, body: Mapping[str, Any]) -> Shown:
        """The next version; not repeated."""
        create = self._of(kind, "create", "_version")
        send = functools.partial(create, path_id(kind, id), **body, request_options=ONCE)
        return _checked(kind, await self._policy.once(budget, f"create_{kind}_version", send))

    # -- writing, where a repetition does no harm ------------------------------------------------------------------

    async def rename(self, budget: Budget, kind: Kind, id: str, name: str) -> None:
        """Another name for all versions."""
        await self._done(budget, f"update_{kind}_name", self._of(kind, "update", "_name"), path_id(kind, id), name=name)

    async def describe(self, budget: Budget, kind: Kind, id: str, version: int, description: str) -> Shown:
        """Another description for one version."""
        describe = self._of(kind, "update", "_description")
        options = {"version_description": description, "request_options": ONCE}
        send = functools.partial(describe, path_id(kind, id), version, **options)
        return _checked(kind, await self._policy.read(budget, f"update_{kind}_description", send))

    async def delete(self, budget: Budget, kind: Kind, id: str) -> None:
        """The resource with all versions; 404 may mean that the try before did it."""
        await self._done(budget, f"delete_{kind}", self._of(kind, "delete", ""), path_id(kind, id))

    async def delete_version(self, budget: Budget, kind: Kind, id: str, version: int) -> None:
        """One version; 404 may mean that the try before did it."""
        delete = self._of(kind, "delete", "_version")
        await self._done(budget, f"delete_{kind}_version", delete, path_id(kind, id), version)

    async def delete_voice(self, budget: Budget, name: str) -> None:
        """A custom voice, by name."""
        await self._done(budget, "delete_voice", self._voices.delete, name=name)

    def _of(self, kind: Kind, verb: str, rest: str) -> Callable[..., Awaitable[Any]]:
        """The library's method, such as `create_prompt_version`."""
        method: Callable[..., Awaitable[Any]] = getattr(self._evi[kind], f"{verb}_{kind}{rest}")
        return method

    async def _done(
        self, budget: Budget, operation: str, send: Callable[..., Awaitable[Any]], *args: Any, **named: Any
    ) -> None:
        async def done() -> bool:
            await send(*args, **named, request_options=ONCE)
            return True

        await self._policy.read(budget, operation, done)

    async def _paged(
        self,
        budget: Budget,
        kind: Kind,
        operation: str,
        send: Callable[..., Awaitable[Any]],
        options: Mapping[str, Any],
    ) -> Shelf:
        answer = await self._policy.read(budget, operation, functools.partial(send, **options, request_options=ONCE))
        # The versions of a prompt come as a page, everything else as a pager that holds one.
        page = getattr(answer, "response", answer)
        shown = [_checked(kind, each) for each in getattr(page, f"{kind}s_page") or () if each is not None]
        return shown, int(page.total_pages or 0)


class GetPage(Protocol):
    """Gets a page, counted from 0."""

    def __call__(self, *, page: int) -> Awaitable[Shelf]: ...


async def all_of(get_page: GetPage) -> AsyncIterator[Shown]:
    """Everything on the pages that `get_page` gives, for as long as they are there.

    Raises `Refused` (502) after `MAX_PAGES`: whoever looks for something must not take it for absent.
    """
    for number in range(MAX_PAGES):
        shown, pages = await get_page(page=number)
        for each in shown:
            yield each
        if not shown or number + 1 >= pages:
            return
    message = f"The provider has more than {MAX_PAGES * MAX_PAGE_SIZE} of these: too many to look through."
    raise Refused(502, message, "provider_too_large", type="api_error")


def path_id(kind: Kind, id: str) -> str:
    """An id that may enter a path, which the library does not quote; raises `Refused` (404) for any other."""
    try:
        return str(uuid.UUID(id))
    except ValueError:
        raise not_found(kind, id) from None


def _checked(kind: Kind, shown: Shown) -> Shown:
    if not whole(kind, shown):
        raise ProviderDown("The provider answered with half an object.")
    return shown


@asynccontextmanager
async def open_transport() -> AsyncIterator[httpx.AsyncClient]:
    """One connection pool for everything asked of the provider."""
    # Redirects would carry the key to wherever they point.
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, follow_redirects=False) as transport:
        yield transport


def hume_api(transport: httpx.AsyncClient, account: Account, policy: Policy) -> HumeApi:
    """The API as this account sees it."""
    client = AsyncHumeClient(
        base_url=account.base_url.rstrip("/"), api_key=account.api_key, httpx_client=transport, follow_redirects=False
    )
    return HumeApi(client, policy)
