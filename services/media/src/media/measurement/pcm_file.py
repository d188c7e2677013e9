"""The sound of a file as 16-bit samples at 16 kHz, one channel: what providers and measurements of ours take.

It is unpacked once, to a file without a header, so that any part is found by its number. Runs in worker processes.
"""

import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from common.kernel.worker_main import report
from media.measurement.findings import SAMPLE_RATE, Sound
from media.measurement.media_error import too_long, unreadable
from media.measurement.media_file import opened

RATE = SAMPLE_RATE
SAMPLE_BYTES = 2
# Of a damaged file: so many packets in a row that say nothing are its end.
MAX_BROKEN = 100
# Where a long sound is cut: in the quietest tenth of a second of the last half minute of a piece.
LOOK_BACK_SECONDS = 30
QUIET_SECONDS = 0.1


def unpack_sound(path: Path, found: str, out: Path, max_seconds: float) -> Sound:
    """Write the samples of a file's first sound stream to `out`. Raises MediaError."""
    most = int(max_seconds * RATE)
    samples, damaged = 0, False
    with opened(path, found) as container, out.open("wb") as file:
        begin = _begin(container)
        for data in _unpacked(container):
            if data is None:
                damaged = True
                continue
            samples += len(data) // SAMPLE_BYTES
            # Counted as it is unpacked: what the file says of its length may be wrong, or nothing.
            if samples > most:
                raise too_long(max_seconds)
            file.write(data)
            report(samples / RATE)
    if not samples:
        raise unreadable("none of its sound could be read")
    return Sound(samples, begin, damaged)


def _begin(container: InputContainer) -> float:
    stream = container.streams.audio[0]
    own = float(stream.start_time * stream.time_base) if stream.start_time is not None and stream.time_base else 0.0
    return max(0.0, own - (container.start_time or 0) / av.time_base)


def _unpacked(container: InputContainer) -> Iterator[bytes | None]:
    """The samples in pieces; None for a packet that is damaged."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    broken = 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken += 1
            if broken > MAX_BROKEN:
                return
            yield None
            continue
        broken = 0
        for frame in frames:
            # A stamp that jumps would have the resampler refuse what comes behind it.
            frame.pts = None
            yield from (_bytes(each) for each in resampler.resample(frame))
    yield from (_bytes(each) for each in resampler.resample(None))


def _bytes(frame: av.AudioFrame) -> bytes:
    return bytes(memoryview(frame.planes[0])[: frame.samples * SAMPLE_BYTES])


def samples_of(pcm: Path) -> NDArray[np.int16]:
    """The samples of a file, read as they are needed."""
    return np.memmap(pcm, dtype="<i2", mode="r")


def pieces(pcm: Path, max_samples: int) -> list[tuple[int, int]]:
    """The samples in pieces of at most so many, each cut where it is quiet: begin, and end that is not in it."""
    samples = samples_of(pcm)
    cuts, begin = list[tuple[int, int]](), 0
    while len(samples) - begin > max_samples:
        end = _quietest(samples, begin + max_samples)
        cuts.append((begin, end))
        begin = end
    return [*cuts, (begin, len(samples))]


def _quietest(samples: NDArray[np.int16], latest: int) -> int:
    window = int(QUIET_SECONDS * RATE)
    first = latest - LOOK_BACK_SECONDS * RATE
    windows = samples[first : first + (latest - first) // window * window].astype(np.float32).reshape(-1, window)
    quietest = int(np.argmin(np.square(windows).sum(axis=1)))
    return first + quietest * window + window // 2


def write_wav(pcm: Path, begin: int, end: int, out: Path) -> int:
    """Some of the samples as a WAV file; returns its size in bytes."""
    with wave.open(str(out), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(RATE)
        file.writeframes(samples_of(pcm)[begin:end].tobytes())
    return out.stat().st_size
