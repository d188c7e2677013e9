"""Every frame of a video, once, as a few numbers: what shots, motion, black and frozen pictures are found from.

A frame becomes a picture of 16 by 9 points in three channels. A film of two hours takes 100 MB of disk so, and is
measured in stretches, none of which takes a worker process for long.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from common.kernel.worker_main import report
from media.analysis.analysis_findings import Stretch
from media.measurement.findings import MediaFacts
from media.measurement.media_error import too_long, unreadable
from media.measurement.media_file import opened

WIDTH, HEIGHT = 64, 36
DOWN = 4
TINY_WIDTH, TINY_HEIGHT = WIDTH // DOWN, HEIGHT // DOWN
CHANNELS = 3
BLOCK_FRAMES = 64
ROW = np.dtype(
    [
        ("seconds", np.float64),
        ("brightness", np.float32),
        ("change", np.float32),
        ("tiny", np.uint8, (TINY_HEIGHT, TINY_WIDTH, 3)),
    ]
)
# Of a damaged file: so many packets in a row that say nothing are its end.
MAX_BROKEN = 100

Rows = NDArray[Any]


def read_stretch(
    path: Path, facts: MediaFacts, out: Path, begin: float, *, cpu_seconds: float, max_seconds: float
) -> Stretch:
    """Measure frames from `begin` on until the processor's time is used up, into `out`. Raises MediaError."""
    until = time.process_time() + cpu_seconds
    resume = None
    with out.open("wb") as file, opened(path, facts.content_type) as container:
        measured = _Measured(file, begin)
        for seconds, frame in _frames(container, begin, measured):
            if seconds > max_seconds:
                raise too_long(max_seconds)
            if time.process_time() > until and measured.frames:
                resume = seconds
                break
            measured.add(seconds, frame)
        measured.write()
    return Stretch(out, measured.frames, resume, measured.damaged)


def rows_of(stretches: list[Path]) -> Rows:
    """The frames of all stretches. Raises MediaError where there are none."""
    counts = [path.stat().st_size // ROW.itemsize for path in stretches]
    # Filled in place: joined from parts it would be in memory twice.
    rows, at = np.empty(sum(counts), ROW), 0
    for path, count in zip(stretches, counts, strict=True):
        rows[at : at + count] = np.fromfile(path, dtype=ROW, count=count)
        at += count
    if not len(rows):
        raise unreadable("none of its pictures could be read")
    return rows


class _Measured:
    """Makes rows of frames, a block at a time; each is compared with the one before."""

    def __init__(self, file: BinaryIO, begin: float) -> None:
        self.frames = 0
        self.damaged = False
        self._file = file
        self._begin = begin
        self._reformatter = VideoReformatter()
        # The first place is the last frame of the block before.
        self._small = np.zeros((BLOCK_FRAMES + 1, CHANNELS, HEIGHT, WIDTH), np.uint8)
        self._seconds = list[float]()
        self._any_before = False

    def add(self, seconds: float, frame: av.VideoFrame) -> None:
        small = self._reformatter.reformat(frame, WIDTH, HEIGHT, "yuv444p", interpolation=Interpolation.FAST_BILINEAR)
        self._seconds.append(seconds)
        self._small[len(self._seconds)] = small.to_ndarray()
        if len(self._seconds) == BLOCK_FRAMES:
            self.write()
            report(seconds)

    def write(self) -> None:
        """Write the frames of this block, but for the one before the stretch."""
        count = len(self._seconds)
        if not count:
            return
        block = self._small[: count + 1]
        rows = np.zeros(count, ROW)
        rows["seconds"] = self._seconds
        rows["brightness"] = block[1:, 0].mean(axis=(1, 2))
        rows["change"] = np.abs(np.diff(block.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
        if not self._any_before:
            rows["change"][0] = 0.0
        rows["tiny"] = _tiny(block[1:])
        wanted = rows[rows["seconds"] >= self._begin]
        self._file.write(wanted.tobytes())
        self.frames += len(wanted)
        self._small[0], self._any_before = block[-1], True
        self._seconds.clear()


def _tiny(block: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Means of 4 by 4 points, of shape (frames, height, width, channels); sums of slices are the quickest way there."""
    lines = block.reshape(len(block), CHANNELS, TINY_HEIGHT, DOWN, WIDTH).astype(np.uint16)
    high = lines[:, :, :, 0] + lines[:, :, :, 1] + lines[:, :, :, 2] + lines[:, :, :, 3]
    points = high.reshape(len(block), CHANNELS, TINY_HEIGHT, TINY_WIDTH, DOWN)
    wide = points[..., 0] + points[..., 1] + points[..., 2] + points[..., 3]
    return np.moveaxis(wide // (DOWN * DOWN), 1, -1)


def _frames(container: InputContainer, begin: float, measured: _Measured) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames with the seconds at which they are shown, from the last one before `begin` on."""
    stream = container.streams.video[0]
    # Threads that each take a frame may hang when a file is left early.
    stream.thread_type = "SLICE"
    # What is looked at is far coarser than the edges of blocks that the filter smooths, in a tenth of the time.
    stream.codec_context.options = {"skip_loop_filter": "all"}
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    if begin > 0:
        container.seek(int((begin + start) * av.time_base), backward=True)
    broken, last = 0, None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken, measured.damaged = broken + 1, True
            if broken > MAX_BROKEN:
                return
            continue
        broken = 0
        for frame in frames:
            if frame.pts is None:
                continue
            seconds = max(0.0, frame.time - start)
            if seconds < begin:
                last = seconds, frame
                continue
            if last is not None:
                yield last
                last = None
            yield seconds, frame
