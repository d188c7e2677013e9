"""What an analysis finds, as it travels between processes: light, so that the service loads no decoder for it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from media.measurement.findings import FaceBox

Transition = Literal["start", "cut", "dissolve", "fade"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Measured frames of a video in a file; `resume` is the second at which the next one begins, None at the end."""

    path: Path
    frames: int
    resume: float | None
    damaged: bool


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where one shot becomes the next: from frame `begin` to frame `end`, which is the first of the new shot alone."""

    begin: int
    end: int
    transition: Transition
    strength: float


@dataclass(frozen=True, slots=True)
class Shot:
    """A shot in seconds; `keyframe` is the second of the picture that stands for it, `transition` how it begins."""

    number: int
    begin: float
    end: float
    keyframe: float
    transition: Transition
    motion: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Footage:
    """The shots of a video, and what its frames are like.

    `motion` is the mean change of the brightness from frame to frame, of 255. `black` and `frozen` are stretches in
    seconds. `rate` is frames per second, `variable` whether their distances differ.
    """

    shots: list[Shot]
    frames: int
    seconds: float
    rate: float
    variable: bool
    motion: float
    brightness: float
    black: list[tuple[float, float]]
    frozen: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A picture that stands for a shot or is the image: a JPEG file, shown smaller by `scale`, and a smaller one."""

    number: int
    seconds: float
    path: Path
    thumbnail: Path
    width: int
    height: int
    scale: float
    quality: "Sharpness"


@dataclass(frozen=True, slots=True)
class Sharpness:
    """A picture's quality: the variance of its Laplacian, mean brightness (of 255), spread, and clipped shares."""

    sharpness: float
    brightness: float
    contrast: float
    clipped_dark: float
    clipped_bright: float
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FaceFound:
    """A face in keyframe `keyframe`, in pixels of the media, and its picture."""

    keyframe: int
    box: FaceBox
    path: Path


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture looks like: a vector of length one, a perceptual hash of 16 hex digits, and what it may show."""

    vector: list[float]
    hash: str
    names: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SoundFound:
    """The loudness of a sound by EBU R 128, and where it is silent.

    `integrated_lufs` is None where nothing is loud enough to count. `curve` is the momentary loudness in LUFS every
    `step` seconds.
    """

    seconds: float
    channels: int
    rate: int
    integrated_lufs: float | None
    range_lu: float | None
    true_peak_dbtp: float | None
    step: float
    curve: list[float]
    silence: list[tuple[float, float]]
    waveform: Path
    damaged: bool


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which items belong together, by their numbers: `joined` to clusters there are, and `new` ones."""

    joined: dict[int, str]
    new: list[list[int]]
