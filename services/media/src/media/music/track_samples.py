"""The samples of a track, as analysis takes them: one or two channels of floats at 22,050 Hz, up to so many seconds."""

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
# Of a damaged file: so many packets in a row that say nothing are its end.
MAX_BROKEN = 100
# Of what may be analysed at all: a tenth of a second has neither tempo nor key, and its loudness is not defined.
LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Track:
    """`samples` has the shape (frames, channels); `cut` says that the file goes on behind them."""

    samples: Floats
    cut: bool

    @property
    def mono(self) -> Floats:
        """All channels as one, shape (frames,)."""
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
    stream = container.streams.audio[0]
    # One channel stays one: made two, each of them would be quieter.
    channels = 1 if stream.layout.nb_channels == 1 else 2
    resampler = av.AudioResampler(format="flt", layout="mono" if channels == 1 else "stereo", rate=RATE)
    broken = 0
    for packet in container.demux(stream):
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
            yield from (_floats(each, channels) for each in resampler.resample(frame))
    yield from (_floats(each, channels) for each in resampler.resample(None))


def _floats(frame: av.AudioFrame, channels: int) -> Floats:
    flat = np.frombuffer(memoryview(frame.planes[0])[: frame.samples * channels * 4], dtype=np.float32)
    return np.nan_to_num(flat).reshape(-1, channels)
