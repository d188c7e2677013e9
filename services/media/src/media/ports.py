"""What media needs from outside."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
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
    """A file that is kept; `sha256` is lower-case hex, `size` in bytes."""

    id: str
    org_id: str
    content_type: str
    size: int
    sha256: str


class Assets(Protocol):
    """Files of organisations, written whole or not at all."""

    async def store_file(
        self, org_id: str, path: Path, *, origin: Origin, name: str | None = None, asset_id: str | None = None
    ) -> Asset:
        """Keep a file; under an id that is taken it replaces what is there."""

    async def get(self, org_id: str, asset_id: str) -> Asset:
        """Raises Refused 404 where the organisation has none of this id."""

    def read(self, asset: Asset, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Its bytes."""

    async def copy_to_file(self, asset: Asset, path: Path) -> None:
        """Its bytes, for the worker processes."""

    async def delete_of_job(self, org_id: str, job_id: str) -> int:
        """Delete what a job made; returns how many there were."""


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
