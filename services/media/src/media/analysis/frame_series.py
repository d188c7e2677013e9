"""Every frame of a video, once, as a few numbers: what shots, motion, black and frozen pictures are found from.

A frame becomes a picture of 16 by 9 points in three channels. A film of two hours takes 100 MB of disk so, and is
measured in stretches, none of which takes a worker process for long.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
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
TINY_WIDTH, TINY_HEIGHT = 16, 9
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
REPORT_FRAMES = 50

Rows = NDArray[Any]


def read_stretch(
    path: Path, facts: MediaFacts, out: Path, begin: float, *, cpu_seconds: float, max_seconds: float
) -> Stretch:
    """Measure frames from `begin` on until the processor's time is used up, into `out`. Raises MediaError."""
    until = time.process_time() + cpu_seconds
    measured, resume = _Measured(), None
    with out.open("wb") as file, opened(path, facts.content_type) as container:
        for seconds, frame in _frames(container, begin, measured):
            if seconds > max_seconds:
                raise too_long(max_seconds)
            if time.process_time() > until and measured.frames:
                resume = seconds
                break
            row = measured.row(seconds, frame)
            # The one before a stretch is what its first is compared with.
            if seconds >= begin:
                file.write(row.tobytes())
                measured.frames += 1
            if measured.frames % REPORT_FRAMES == 0:
                report(seconds)
    return Stretch(out, measured.frames, resume, measured.damaged)


def rows_of(stretches: list[Path]) -> Rows:
    """The frames of all stretches. Raises MediaError where there are none."""
    parts = [np.fromfile(path, dtype=ROW) for path in stretches]
    rows = np.concatenate(parts) if parts else np.zeros(0, ROW)
    if not len(rows):
        raise unreadable("none of its pictures could be read")
    return rows


class _Measured:
    """Makes rows of frames; each is compared with the one before."""

    def __init__(self) -> None:
        self.frames = 0
        self.damaged = False
        self._reformatter = VideoReformatter()
        self._last: NDArray[np.uint8] | None = None

    def row(self, seconds: float, frame: av.VideoFrame) -> Rows:
        small = self._reformatter.reformat(
            frame, WIDTH, HEIGHT, "yuv444p", interpolation=Interpolation.FAST_BILINEAR
        ).to_ndarray()
        row = np.zeros(1, ROW)
        row["seconds"] = seconds
        row["brightness"] = small[0].mean()
        if self._last is not None:
            row["change"] = cv2.absdiff(small, self._last).mean()
        row["tiny"] = cv2.resize(np.moveaxis(small, 0, -1), (TINY_WIDTH, TINY_HEIGHT), interpolation=cv2.INTER_AREA)
        self._last = small
        return row


def _frames(container: InputContainer, begin: float, measured: _Measured) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames with the seconds at which they are shown, from the last one before `begin` on."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
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
