"""What media needs from outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from common.failures import ProviderDown


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an asset comes from: the job that made it, empty for none, and the kind of thing it is."""

    job_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of an organisation: its row. Times are aware, in UTC; `kind` is `upload` or that of its job."""

    id: str
    org_id: str
    kind: str
    job_id: str | None
    name: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime
    expires_at: datetime | None


class AssetRows(Protocol):
    """The assets of all organisations. Every method raises StoreUnavailableError while the store is away."""

    async def add(self, asset: Asset, quota_bytes: int) -> Asset | None:
        """Keep it, in place of an asset of the same id and organisation; None where the quota has no room for it.

        Raises `Park` where another organisation has the id.
        """

    async def get(self, org_id: str, asset_id: str) -> Asset | None:
        """The asset, unless it has expired."""

    async def page(
        self, org_id: str, limit: int, after: str | None, job_id: str | None, kind: str | None
    ) -> Sequence[Asset]:
        """Up to `limit` assets that have not expired, newest first, behind the asset `after`."""

    async def remove(self, org_id: str, asset_id: str) -> bool:
        """Forget it; whether it was there."""

    async def of_job(self, org_id: str, job_id: str) -> Sequence[str]:
        """The ids of the assets that a job made."""

    async def expired(self, limit: int) -> Sequence[tuple[str, str]]:
        """Organisation and id of assets whose time is over."""

    async def known(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The organisation of each asset there is."""


class NeverSent(ProviderDown):
    """The provider was not reached: whatever was to be done there was not."""


@dataclass(frozen=True, slots=True)
class VideoTask:
    """A clip as a provider is asked for it; `id` is chosen here and kept before anything is sent.

    `image` is the first picture, as a data URI; `callback_url` is where the provider may say that it is done.
    """

    id: str
    prompt: str
    negative_prompt: str | None
    model: str
    duration: float
    width: int
    height: int
    fps: int | None
    seed: int | None
    image: str | None
    callback_url: str | None


@dataclass(frozen=True, slots=True)
class VideoProgress:
    """How far a task is. `share` is between 0 and 1 where the provider says so; `url` is there once it is done.

    `failure` says why it failed; `lasting` that another try would fail in the same way.
    """

    state: Literal["unknown", "processing", "done", "failed"]
    share: float | None = None
    url: str | None = None
    cost_usd: float = 0.0
    seed: int | None = None
    failure: str | None = None
    lasting: bool = False


class VideoProvider(Protocol):
    """Somebody who makes clips in their own time.

    Every method raises ProviderDown where nothing is known of what was done (NeverSent: nothing was), and Refused for
    what will be refused again; with code `provider_refused_us` where our account is at fault.
    """

    @property
    def name(self) -> str:
        """What it is called in the trail of a job."""

    @property
    def usable(self) -> bool:
        """Whether a call made now might go through."""

    async def submit(self, task: VideoTask) -> None:
        """Have a task done; one of the same id is not begun a second time where the provider keeps to that."""

    async def look(self, task_id: str) -> VideoProgress:
        """How far a task is; `unknown` where the provider never had it, or has forgotten it."""

    async def fetch(self, url: str, path: Path) -> None:
        """Write a result to a file."""


class Images(Protocol):
    """Pictures at addresses that callers name."""

    async def fetch(self, url: str, path: Path) -> None:
        """Write what is there to a file; raises Refused, and ProviderDown."""


# Renders a plain clip here; it is no provider and never away.
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class VideoStudio:
    """`order` names who is tried, of `providers` or `local`.

    `callback_of` gives the address at which the provider may call back about a job, None where there is none. A task
    that a provider does not finish within `wait_seconds` is given up.
    """

    order: Sequence[str]
    providers: dict[str, VideoProvider]
    images: Images
    callback_of: Callable[[str], str | None]
    wait_seconds: float

    def those_for(self, model: str) -> Sequence[str]:
        """Who is to be tried for a model: the one called `local` is nobody else's."""
        if model == LOCAL:
            return (LOCAL,)
        return [name for name in self.order if name == LOCAL or name in self.providers]
