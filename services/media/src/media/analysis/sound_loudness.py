"""The loudness of a sound by EBU R 128 (ffmpeg's filter), where it is silent, and a picture of its wave.

It is read in pieces of a tenth of a second, so that hours of sound take no memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.filter
import numpy as np
from av.container import InputContainer

from common.kernel.worker_main import report
from media.analysis.analysis_findings import SoundFound
from media.analysis.waveform_picture import draw
from media.measurement.media_error import too_long, unreadable
from media.measurement.media_file import opened

MAX_BROKEN = 100
# Quieter than this over a while is silence (ITU-R BS.1770 leaves out what is below -70 LUFS altogether).
SILENCE_DB, SILENCE_SECONDS = -50.0, 0.5
FLOOR = -70.0
# Of a long sound the curve is thinned to so many points.
MOST_POINTS = 1200
STEP = 0.1


@dataclass(slots=True)
class _Heard:
    """What was heard so far, per tenth of a second: momentary loudness, level in dB, and lowest and highest values."""

    rate: int
    channels: int
    samples: int = 0
    damaged: bool = False
    momentary: list[float] = field(default_factory=list)
    level: list[float] = field(default_factory=list)
    wave: list[tuple[float, float]] = field(default_factory=list)
    last: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def sound(path: Path, content_type: str, out: Path, max_seconds: float) -> SoundFound:
    """Measure the first sound stream of a file; its wave becomes a PNG file `out`. Raises MediaError."""
    with opened(path, content_type) as container:
        stream = container.streams.audio[0]
        heard = _Heard(stream.rate or 1, stream.channels or 1)
        for frame in _filtered(container, heard):
            _hear(frame, heard)
            if heard.seconds > max_seconds:
                raise too_long(max_seconds)
            if len(heard.level) % 100 == 0:
                report(heard.seconds)
    if not heard.level:
        raise unreadable("none of its sound could be read")
    draw(heard.wave, out)
    return _found(heard, out)


def _filtered(container: InputContainer, heard: _Heard) -> Iterator[av.AudioFrame]:
    """The sound in pieces that carry what the filter measured up to them."""
    graph: av.filter.Graph | None = None
    for frame in _decoded(container, heard):
        if graph is None:
            heard.rate, heard.channels = frame.sample_rate, len(frame.layout.channels)
            graph = _graph(frame)
        # A stamp that jumps would have the filter fill the gap.
        frame.pts = None
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _graph(frame: av.AudioFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=frame.time_base
    )
    graph.link_nodes(
        source,
        graph.add("aformat", f"sample_fmts=dbl:sample_rates={frame.sample_rate}"),
        graph.add("ebur128", "metadata=1:peak=true:framelog=quiet"),
        graph.add("abuffersink"),
    ).configure()
    return graph


def _pulled(graph: av.filter.Graph) -> Iterator[av.AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if isinstance(frame, av.AudioFrame):
            yield frame


def _decoded(container: InputContainer, heard: _Heard) -> Iterator[av.AudioFrame]:
    broken, shape = 0, None
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken, heard.damaged = broken + 1, True
            if broken > MAX_BROKEN:
                return
            continue
        broken = 0
        for frame in frames:
            shape = shape or (frame.sample_rate, frame.layout.name, frame.format.name)
            if (frame.sample_rate, frame.layout.name, frame.format.name) == shape:
                yield frame
            else:
                heard.damaged = True


def _hear(frame: av.AudioFrame, heard: _Heard) -> None:
    values = frame.to_ndarray().reshape(-1, heard.channels)
    heard.samples += frame.samples
    power = float(np.square(values).mean())
    heard.level.append(10 * math.log10(power) if power > 0 else -200.0)
    heard.wave.append((float(values.min()), float(values.max())))
    heard.last = dict(frame.metadata) or heard.last
    heard.momentary.append(_number(heard.last, "lavfi.r128.M") or FLOOR)


def _number(said: dict[str, str], name: str) -> float | None:
    try:
        value = float(said[name])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _found(heard: _Heard, waveform: Path) -> SoundFound:
    integrated = _number(heard.last, "lavfi.r128.I")
    counts = integrated is not None and integrated > FLOOR
    peaks = [_number(heard.last, f"lavfi.r128.true_peaks_ch{number}") for number in range(heard.channels)]
    peak = max((value for value in peaks if value is not None), default=0.0)
    every = max(1, -(-len(heard.momentary) // MOST_POINTS))
    return SoundFound(
        seconds=round(heard.seconds, 3),
        channels=heard.channels,
        rate=heard.rate,
        integrated_lufs=round(integrated, 1) if integrated is not None and counts else None,
        range_lu=_number(heard.last, "lavfi.r128.LRA") if counts else None,
        true_peak_dbtp=round(20 * math.log10(peak), 1) if peak > 0 else None,
        step=STEP * every,
        curve=[round(max(FLOOR, max(heard.momentary[at : at + every])), 1) for at in range(0, len(heard.level), every)],
        silence=_silence(heard),
        waveform=waveform,
        damaged=heard.damaged,
    )


def _silence(heard: _Heard) -> list[tuple[float, float]]:
    quiet = np.array(heard.level) < SILENCE_DB
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False])).astype(np.int8)))
    spans = [(begin * STEP, min(end * STEP, heard.seconds)) for begin, end in edges.reshape(-1, 2)]
    return [(round(float(begin), 2), round(float(end), 2)) for begin, end in spans if end - begin >= SILENCE_SECONDS]
