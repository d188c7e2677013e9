"""What speech needs from outside: providers that speak, voices of the catalogue, what is kept, and leases."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

# A name is looked up without case, and with spaces, dashes and underscores alike: `Colton Rivers` is `colton_rivers`.
_SAME = str.maketrans({" ": "_", "-": "_"})
# The code of a refusal by a provider that does not have the voice: the next one may have something in its place.
NO_VOICE = "voice_not_found"


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice; `names` holds what each provider calls it.

    `library` says whose shelf it stands on at Hume. `source` is the catalogue for a voice of the organisation's own.
    """

    id: str
    name: str
    names: Mapping[str, str] = field(default_factory=dict)
    library: str = "HUME_AI"
    description: str = ""
    source: str = "built_in"


def slug(name: str) -> str:
    """A name as it is looked up."""
    return name.strip().lower().translate(_SAME)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One piece of a text for one provider. `until` is unix seconds: nobody waits any longer."""

    org_id: str
    text: str
    voice: Voice
    description: str
    speed: float
    until: float


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples of 16 bits, little-endian, in one channel, and what they cost.

    `speed` is the one that was asked for, `reference` what the provider calls them.
    """

    samples: bytes
    rate: int
    provider: str
    speed: float = 1.0
    cost_usd: float = 0.0
    reference: str | None = None

    @property
    def seconds(self) -> float:
        return len(self.samples) / (2 * self.rate)


class SpeechProvider(Protocol):
    """Somebody who speaks.

    `identity` changes with whatever makes the same text sound otherwise: the model, the account. `speeds` are those it
    makes well; what is beyond them is done by us. `sandbox` says that a stand-in answers.
    """

    name: str
    identity: str
    speeds: tuple[float, float]
    sandbox: bool

    def serves(self, org_id: str) -> bool:
        """Whether it can be asked for this organisation: there is an account."""
        ...

    def knows(self, voice: Voice) -> bool:
        """Whether it has this voice, or one in its place."""
        ...

    async def speak(self, utterance: Utterance) -> Sound:
        """Raises Refused where the text or the voice is at fault, ProviderDown for anything that is the provider's."""
        ...


class CatalogueVoices(Protocol):
    """The voices that organisations keep in their catalogue."""

    async def find(self, org_id: str, wanted: str) -> Voice | None:
        """The voice with this id or name. Raises Refused 503 where the catalogue does not answer."""
        ...

    async def all(self, org_id: str) -> Sequence[Voice]:
        """All of them. Raises as `find`."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that was made before, with what is known of it."""

    about: Mapping[str, Any]
    data: bytes = field(repr=False)


class KeptSpeech(Protocol):
    """What was made before, by organisation and key. What cannot be reached is as if it were not there."""

    async def find(self, org_id: str, key: str) -> Kept | None:
        """What is kept under this key."""
        ...

    async def keep(self, org_id: str, key: str, about: Mapping[str, Any], data: bytes) -> None:
        """Keep it; another copy is replaced."""
        ...


class Leases(Protocol):
    """The right to do something that no other process is to do at the same time."""

    def hold(self, key: str) -> AbstractAsyncContextManager[bool]:
        """Whether the lease is ours; it is renewed until the end. Where the store is away, everybody has it."""
        ...


class SoundStream(Protocol):
    """Sound on its way into a format."""

    async def feed(self, sound: Sound, pause: float, tempo: float) -> bytes:
        """The bytes that a piece adds, played at `tempo`, with `pause` seconds of quiet behind it.

        Raises Refused 503 where no worker has time.
        """
        ...

    async def finish(self) -> bytes:
        """The rest."""
        ...

    @property
    def seconds(self) -> float:
        """How long it plays so far."""
        ...


class SoundWorks(Protocol):
    """Where sound is joined and encoded, away from the event loop."""

    def open(self, org_id: str, format: str, rate: int, *, whole: bool) -> AbstractAsyncContextManager[SoundStream]:
        """A stream of this format; with `whole` all of it comes at the end."""
        ...


class Outlet(Protocol):
    """The way of one answer to its client."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """Say how the answer begins."""
        ...

    async def write(self, data: bytes) -> None:
        """Hand bytes on, no faster than the client reads. Raises Gone where nobody reads."""
        ...


class Gone(Exception):
    """Nobody waits for this answer any more; `reason` says how that is known."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
