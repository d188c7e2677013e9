"""The samples of a track, as analysis takes them: two channels of floats at 22,050 Hz, up to so many seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from media.measurement.media_error import unreadable
from media.measurement.media_file import opened

Floats = NDArray[np.float32]
RATE = 22_050
CHANNELS = 2
# Of a damaged file: so many packets in a row that say nothing are its end.
MAX_BROKEN = 100
# Of what may be analysed at all: a tenth of a second has neither tempo nor key, and its loudness is not defined.
LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Track:
    """`samples` has the shape (frames, 2); `cut` says that the file goes on behind them."""

    samples: Floats
    cut: bool

    @property
    def mono(self) -> Floats:
        """Both channels as one, shape (frames,)."""
        return np.asarray(self.samples.mean(axis=1), dtype=np.float32)

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def read_track(path: Path, content_type: str, max_seconds: float) -> Track:
    """The first `max_seconds` of a file's first sound stream. Raises MediaError."""
    most = int(max_seconds * RATE)
    parts, count = list[Floats](), 0
    with opened(path, content_type) as container:
        if not container.streams.audio:
            raise unreadable("it has no sound")
        for part in _unpacked(container):
            parts.append(part)
            count += len(part)
            if count >= most:
                break
    if count < LEAST_SECONDS * RATE:
        raise unreadable(f"less than {LEAST_SECONDS:g} s of sound could be read")
    return Track(np.concatenate(parts)[:most], cut=count >= most)


def _unpacked(container: InputContainer) -> Iterator[Floats]:
    resampler = av.AudioResampler(format="flt", layout="stereo", rate=RATE)
    broken = 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken += 1
            if broken > MAX_BROKEN:
                return
            continue
        broken = 0
        for frame in frames:
            # A stamp that jumps would have the resampler refuse what comes behind it.
            frame.pts = None
            yield from (_floats(each) for each in resampler.resample(frame))
    yield from (_floats(each) for each in resampler.resample(None))


def _floats(frame: av.AudioFrame) -> Floats:
    flat = np.frombuffer(memoryview(frame.planes[0])[: frame.samples * CHANNELS * 4], dtype=np.float32)
    return np.nan_to_num(flat).reshape(-1, CHANNELS)
