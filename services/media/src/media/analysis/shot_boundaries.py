"""Where shots begin, found in the series of frames: cuts, dissolves, and fades through black.

Cuts are frames that change more than their neighbours, as in the adaptive detector of PySceneDetect; a flash is none,
since the picture behind it is the one before it. Gradual transitions are found by twin comparison over several spans
(Zhang, Kankanhalli and Smoliar, "Automatic partitioning of full-motion video", 1993): the picture after a span is
another one than before it. Motion does that too. But in a dissolve each picture lies between the two, point by point,
and both shots change less than the span between them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from media.analysis.analysis_findings import Boundary
from media.analysis.frame_series import Rows

Floats = NDArray[np.float32]
Pictures = NDArray[np.uint8]
Indices = NDArray[np.intp]

# A cut: so much change (mean of all points and channels, of 255), and so much more than around it.
CUT_LEAST, CUT_RATIO, CUT_AROUND = 6.0, 3.0, 2
# Behind a cut the picture stays another one than before it; behind a flash it does not.
CUT_STAYS = 0.4
# Spans in seconds over which gradual transitions are looked for.
SPANS = (0.24, 0.4, 0.64, 1.0, 1.6)
# Over the span the picture changes by so much ...
GRADUAL_LEAST = 9.0
# ... in its middle it is between the two up to this share, and before and behind it, it changes less by this share.
GRADUAL_BETWEEN, GRADUAL_CALM = 0.27, 0.5
# Black is darker than this on average (video black is 16).
BLACK = 22.0
# Boundaries nearer to one another than this are one.
APART_FRAMES = 15
BATCH_FRAMES = 4096


@dataclass(frozen=True, slots=True)
class _Span:
    """A gradual transition that may be there: its middle, its length in frames, and how plain it is."""

    middle: int
    frames: int
    score: float


def boundaries(rows: Rows, rate: float) -> list[Boundary]:
    """The boundaries in their order; `rate` is frames per second."""
    tiny = rows["tiny"].reshape(len(rows), -1)
    cuts = _cuts(rows["change"], tiny)
    fades = _fades(rows["brightness"], rate)
    dissolves = _dissolves(tiny, rate, [each.begin for each in cuts])
    return _apart(cuts + fades + dissolves)


def _cuts(change: Floats, tiny: Pictures) -> list[Boundary]:
    found = []
    for at in np.flatnonzero(change >= CUT_LEAST).tolist():
        around = np.concatenate((change[max(1, at - CUT_AROUND) : at], change[at + 1 : at + 1 + CUT_AROUND]))
        if not len(around) or change[at] < CUT_RATIO * max(float(around.mean()), 1.0):
            continue
        if _distance(tiny, max(0, at - 2), min(len(tiny) - 1, at + 2)) < CUT_STAYS * change[at]:
            continue
        found.append(Boundary(at, at, "cut", float(change[at])))
    return found


def _fades(brightness: Floats, rate: float) -> list[Boundary]:
    """Dark runs between two bright stretches, with the slopes that lead there."""
    dark = brightness < BLACK
    edges = np.flatnonzero(np.diff(np.concatenate(([False], dark, [False])).astype(np.int8)))
    found = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if begin == 0 or end == len(dark):
            continue
        found.append(Boundary(_slope(brightness, begin, -1, rate), _slope(brightness, end - 1, 1, rate), "fade", 255.0))
    return found


def _slope(brightness: Floats, at: int, way: int, rate: float) -> int:
    """The frame at which a fade begins or ends: as far as it gets brighter, for two seconds at most."""
    last = at
    for _ in range(int(2 * rate)):
        then = last + way
        if not 0 <= then < len(brightness) or brightness[then] <= brightness[last] + 0.25:
            break
        last = then
    return last


def _dissolves(tiny: Pictures, rate: float, cuts: list[int]) -> list[Boundary]:
    lengths = sorted({max(4, round(seconds * rate) // 2 * 2) for seconds in SPANS})
    spans = [span for frames in lengths for span in _spans(tiny, frames, cuts)]
    chosen: list[_Span] = []
    for span in sorted(spans, key=lambda span: -span.score):
        if all(abs(span.middle - other.middle) > (span.frames + other.frames) / 2 for other in chosen):
            chosen.append(span)
    return [
        Boundary(span.middle - span.frames // 2, span.middle + span.frames // 2, "dissolve", span.score)
        for span in chosen
    ]


def _spans(tiny: Pictures, frames: int, cuts: list[int]) -> list[_Span]:
    """Spans of one length that look like a dissolve; some thousand pictures at a time, for the sake of memory."""
    first, last = frames + frames // 2, len(tiny) - frames - frames // 2
    found = []
    for begin in range(first, last, BATCH_FRAMES):
        middles = np.arange(begin, min(last, begin + BATCH_FRAMES))
        scores = _scores(tiny, middles, frames)
        for cut in cuts:
            scores[np.abs(middles - cut) <= frames + frames // 2] = 0.0
        found += [_Span(int(middles[at]), frames, float(scores[at])) for at in np.flatnonzero(scores)]
    return found


def _scores(tiny: Pictures, middles: Indices, frames: int) -> Floats:
    """How plain a dissolve of this length is around each of the frames; 0 where there is none."""
    half = frames // 2
    one, other = tiny[middles - half].astype(np.float32), tiny[middles + half].astype(np.float32)
    over = np.abs(one - other).mean(axis=1)
    between = np.abs(tiny[middles] - (one + other) / 2).mean(axis=1)
    around = np.maximum(
        np.abs(tiny[middles - half - frames] - one).mean(axis=1),
        np.abs(tiny[middles + half + frames] - other).mean(axis=1),
    )
    good = (over >= GRADUAL_LEAST) & (between <= GRADUAL_BETWEEN * over) & (around <= GRADUAL_CALM * over)
    scores: Floats = np.where(good, over - between - around, 0.0).astype(np.float32)
    return scores


def _distance(tiny: Pictures, one: int, other: int) -> float:
    return float(np.abs(tiny[one].astype(np.int16) - tiny[other]).mean())


def _apart(found: list[Boundary]) -> list[Boundary]:
    """In their order; of those that are one, the fade before the cut before the dissolve."""
    rank = {"fade": 0, "cut": 1, "dissolve": 2}
    kept: list[Boundary] = []
    for each in sorted(found, key=lambda each: (rank[each.transition], -each.strength)):
        if all(each.begin - other.end > APART_FRAMES or other.begin - each.end > APART_FRAMES for other in kept):
            kept.append(each)
    return sorted(kept, key=lambda each: each.begin)
