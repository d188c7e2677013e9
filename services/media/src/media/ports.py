"""What media needs from outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

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
        self,
        org_id: str,
        limit: int,
        after: str | None,
        job_id: str | None,
        kind: str | None,
        *,
        oldest_first: bool = False,
    ) -> Sequence[Asset]:
        """Up to `limit` assets that have not expired, by age, behind the asset `after`."""

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


class FileMeasurement(Protocol):
    """Expression measurement that answers with the whole result, and keeps nothing of it.

    Its answers are the provider's documents. Every method raises ProviderDown where nothing is known of what was done
    (NeverSent: nothing was), and Refused for what will be refused again.
    """

    @property
    def name(self) -> str:
        """What it is called in the trail of a job."""

    @property
    def usable(self) -> bool:
        """Whether a call made now might go through."""

    async def audio(self, wav: Path, timer_ms: int) -> dict[str, Any]:
        """Utterances and measurements of a WAV file: 16-bit PCM at 16 kHz, mono."""

    async def images(self, files: Sequence[Path], face_state: str | None) -> dict[str, Any]:
        """The faces of JPEG files; `face_state` of an earlier answer keeps their numbers."""


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """What a job at the provider is to measure: a file, or what is at an address.

    `reference` is the name under which the provider keeps the source: a job that was begun is found again by it.
    """

    models: Sequence[str]
    reference: str
    path: Path | None
    url: str | None
    callback_url: str | None


@dataclass(frozen=True, slots=True)
class BatchState:
    """How a job at the provider is; `message` says why one failed."""

    state: Literal["waiting", "completed", "failed"]
    message: str = ""


class BatchMeasurement(Protocol):
    """Expression measurement as jobs of the provider. Methods raise as those of `FileMeasurement`."""

    @property
    def name(self) -> str:
        """What it is called in the trail of a job."""

    @property
    def usable(self) -> bool:
        """Whether a call made now might go through."""

    async def start(self, order: BatchOrder) -> str:
        """Begin a job; returns its id."""

    async def find(self, reference: str) -> str | None:
        """The id of a job that was begun with this reference."""

    async def look(self, job_id: str) -> BatchState:
        """How a job is."""

    async def predictions(self, job_id: str) -> list[dict[str, Any]]:
        """What a completed job found: an element for each source."""


class Downloads(Protocol):
    """Files at addresses that callers name."""

    async def fetch(self, url: str, path: Path) -> None:
        """Write what is there to a file; raises Refused, and ProviderDown."""


@dataclass(frozen=True, slots=True)
class ExpressionLab:
    """`order` names who is asked: `hume` by files, `hume-batch` by jobs, `local`.

    `face_model` gives the file of the local face detector, and raises ModelMissing. At most `max_seconds` of media are
    measured; a job at a provider may take `wait_seconds`.
    """

    order: Sequence[str]
    files: FileMeasurement | None
    batch: BatchMeasurement | None
    downloads: Downloads
    face_model: Callable[[], Path]
    callback_of: Callable[[str], str | None]
    max_seconds: float
    wait_seconds: float


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
