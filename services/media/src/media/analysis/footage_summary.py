"""The shots of a video, and how its frames are as a whole: motion, brightness, black and frozen stretches."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.analysis.analysis_findings import Boundary, Footage, Shot, Transition
from media.analysis.frame_series import Rows, rows_of
from media.analysis.shot_boundaries import BLACK, boundaries

# A picture that changes by less than this (of 255) stands still; so long makes a frozen or black stretch.
STILL, LEAST_SECONDS = 0.15, 0.5
# A stretch shorter than this is no shot of its own.
LEAST_FRAMES = 2
DEFAULT_RATE = 25.0


def footage(stretches: list[Path]) -> Footage:
    """What the measured frames of a video are. Raises MediaError where there are none."""
    rows = rows_of(stretches)
    rate, variable = frame_rate(rows)
    seconds = float(rows["seconds"][-1]) + 1 / rate
    still = rows["change"] < STILL
    still[0] = False
    return Footage(
        shots=_shots(rows, boundaries(rows, rate), seconds),
        frames=len(rows),
        seconds=round(seconds, 3),
        rate=round(rate, 3),
        variable=variable,
        motion=round(float(rows["change"][1:].mean()), 2) if len(rows) > 1 else 0.0,
        brightness=round(float(rows["brightness"].mean()), 1),
        black=_stretches(rows["brightness"] < BLACK, rows, seconds),
        frozen=_stretches(still & (rows["brightness"] >= BLACK), rows, seconds),
    )


def frame_rate(rows: Rows) -> tuple[float, bool]:
    """Frames per second by the middle distance of two frames, and whether distances differ by more than rounding."""
    distances = np.diff(rows["seconds"])
    distances = distances[distances > 0]
    if not len(distances):
        return DEFAULT_RATE, False
    middle = float(np.median(distances))
    return min(1000.0, 1 / middle), bool(np.percentile(distances, 95) > 1.3 * middle)


def _shots(rows: Rows, found: list[Boundary], seconds: float) -> list[Shot]:
    """What is between the boundaries; the middle of a gradual one is where the next shot begins."""
    starts: list[tuple[int, int, Transition]] = [(0, 0, "start")]
    starts += [((each.begin + each.end) // 2, each.end, each.transition) for each in found]
    ends = [(each.begin + each.end) // 2 for each in found] + [len(rows)]
    calm_ends = [each.begin for each in found] + [len(rows)]
    shots: list[Shot] = []
    for (begin, calm_begin, transition), end, calm_end in zip(starts, ends, calm_ends, strict=True):
        if end - begin < LEAST_FRAMES and shots:
            continue
        calm = slice(min(calm_begin, end - 1), max(calm_end, min(calm_begin, end - 1) + 1))
        shots.append(
            Shot(
                number=len(shots),
                begin=round(float(rows["seconds"][begin]), 3),
                end=round(float(rows["seconds"][end]) if end < len(rows) else seconds, 3),
                keyframe=round(float(rows["seconds"][calm.start + _typical(rows[calm])]), 3),
                transition=transition,
                motion=round(float(rows["change"][begin + 1 : end].mean()), 2) if end > begin + 1 else 0.0,
            )
        )
    return shots


def _typical(rows: Rows) -> int:
    """The frame that stands for a shot: near to the mean of all, and still; neither black nor its first."""
    tiny = rows["tiny"].reshape(len(rows), -1)
    every = max(1, len(rows) // 500)
    some = np.arange(every // 2, len(rows), every)
    pictures = tiny[some].astype(np.float32)
    far = np.abs(pictures - pictures.mean(axis=0)).mean(axis=1)
    cost = far + rows["change"][some] + np.where(rows["brightness"][some] < BLACK, 255.0, 0.0)
    return int(some[int(np.argmin(cost))])


def _stretches(marked: NDArray[np.bool_], rows: Rows, seconds: float) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    times = np.append(rows["seconds"], seconds)
    found = [(float(times[begin]), float(times[end])) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
    return [(round(begin, 3), round(end, 3)) for begin, end in found if end - begin >= LEAST_SECONDS]
