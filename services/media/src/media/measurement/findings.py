"""What was found in a file, as it travels between processes: light, so that the service loads no decoder for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What providers and measurements of ours take.
SAMPLE_RATE = 16_000
Kind = Literal["audio", "video", "image"]


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a file is. `seconds` is what it says itself, None where it does not; 0 for an image."""

    kind: Kind
    content_type: str
    seconds: float | None
    has_audio: bool
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples in a file. `begin` is when the first one is heard, in seconds from the start of the media."""

    samples: int
    begin: float
    damaged: bool

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A picture as a JPEG file."""

    seconds: float
    scale: float
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class VoiceWindow:
    """A stretch of sound. Values that cannot be told are None: the pitch where nothing is voiced."""

    begin: float
    end: float
    pitch_hz: float | None
    pitch_range_semitones: float | None
    energy_db: float
    voiced_share: float
    syllables_per_second: float
    pause_share: float


@dataclass(frozen=True, slots=True)
class VoiceFeatures:
    """The windows of a sound in their order, and its pauses, in seconds."""

    windows: list[VoiceWindow]
    pauses: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face: its top left corner and size in pixels of the media, and how sure that is (0 to 1)."""

    x: float
    y: float
    width: float
    height: float
    confidence: float


@dataclass(frozen=True, slots=True)
class FacesAt:
    """The faces of the picture at `seconds`, the largest first."""

    seconds: float
    faces: list[FaceBox]
