"""Films as a viewer has them: when somebody speaks, when captions are shown, how loud it is."""

from pathlib import Path

import av
import numpy as np
import pyloudnorm
from numpy.typing import NDArray

# Quieter than this nobody speaks; a pause within a sentence is shorter than one between two.
QUIET = 10 ** (-45 / 20)
WINDOW_SECONDS = 0.01


def sound_of(film: Path) -> tuple[NDArray[np.float64], int]:
    """The samples of a film as they are heard, shape (frames, channels), and their rate."""
    parts, rate, begin = list[NDArray[np.float64]](), 0, 0.0
    with av.open(str(film)) as container:
        for frame in container.decode(audio=0):
            if not parts:
                begin = frame.time or 0.0
            parts.append(np.atleast_2d(frame.to_ndarray()))
            rate = frame.sample_rate
    samples = np.concatenate(parts, axis=1).T.astype(np.float64)
    # What comes before the film begins is not heard.
    return (samples[int(-begin * rate) :] if begin < 0 else samples), rate


def loudness(film: Path) -> float:
    """Integrated loudness in LUFS."""
    samples, rate = sound_of(film)
    return float(pyloudnorm.Meter(rate).integrated_loudness(samples))


def heard_spans(film: Path, count: int) -> list[tuple[float, float]]:
    """When each of so many sentences is heard: what lies between the longest pauses."""
    samples, rate = sound_of(film)
    window = int(WINDOW_SECONDS * rate)
    level = np.abs(samples[: len(samples) // window * window, 0]).reshape(-1, window).max(axis=1)
    loud = np.flatnonzero(level > QUIET)
    gaps = np.diff(loud)
    cuts = sorted(np.argsort(-gaps)[: count - 1])
    begins = [loud[0], *(loud[cut + 1] for cut in cuts)]
    ends = [*(loud[cut] + 1 for cut in cuts), loud[-1] + 1]
    return [(begin * WINDOW_SECONDS, end * WINDOW_SECONDS) for begin, end in zip(begins, ends, strict=True)]


def told_spans(film: Path) -> list[tuple[float, float]]:
    """When each caption of the film is shown."""
    found = []
    with av.open(str(film)) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            if packet.pts is not None and packet.time_base is not None and len(bytes(packet)) > 2:
                begin = float(packet.pts * packet.time_base)
                found.append((begin, begin + float((packet.duration or 0) * packet.time_base)))
    return found
