"""What a track's harmony and melody are, whatever its key, its tempo and where one begins to listen.

Chroma by the pulse is cut into patches; of each the magnitudes of its two-dimensional Fourier transform are kept, which
do not change when the patch is transposed or begins later (Bertin-Mahieux and Ellis, "Large-scale cover song
recognition using the 2D Fourier transform magnitude", 2012). Their mean over all patches stands for the track.

A cover that is a little slower is often heard at half or twice the tempo, and patches of half the length have nothing
in common. So patches are cut at each pulse that may be meant, and count by how usual it is.
"""

import numpy as np
from numpy.typing import NDArray

from media.music.spectrogram import FRAMES_PER_SECOND
from media.music.track_samples import Floats

# The pulse is that of eighth notes, about: melodies move by them. Its weight falls slowly with its distance, so that a
# few percent of tempo change little; what has less than a tenth of the largest weight is not worth its time.
USUAL_PULSE, PULSE_OCTAVES, FAINT = 200.0, 0.5, 0.1
OCTAVES = np.arange(-3, 4)
# Four bars of eight pulses, about ten seconds: they fit into an excerpt. And how far one patch begins behind the other.
PATCH_PULSES, STEP_PULSES = 32, 4
# Of the pulse axis those of slow change are kept. The first is that of no change: there half of the pitch axis mirrors
# the other half, and what does not differ by pitch is loudness alone.
MOVING_COLUMNS = 7
PITCHES, STILL_ROWS = 12, 6
SIZE = STILL_ROWS + MOVING_COLUMNS * PITCHES
POWER = 0.5


def harmony_of(chroma: Floats, bpm: float) -> Floats:
    """A unit vector of `SIZE` values; zeros where there is no harmony."""
    found = np.zeros(SIZE)
    for pulse, weight in pulses_of(bpm):
        found += weight * _pattern(_by_pulse(chroma, 60.0 * FRAMES_PER_SECOND / pulse))
    return np.asarray(_unit(found), dtype=np.float32)


def pulses_of(bpm: float) -> list[tuple[float, float]]:
    """Pulses a minute at the metrical levels around a tempo, with their weights; half the tempo has the same."""
    pulses = bpm * 2.0**OCTAVES
    weights = np.exp(-0.5 * (np.log2(pulses / USUAL_PULSE) / PULSE_OCTAVES) ** 2)
    clear = weights >= FAINT * weights.max()
    return list(zip(pulses[clear].tolist(), weights[clear].tolist(), strict=True))


def _by_pulse(chroma: Floats, period: float) -> Floats:
    """The mean chroma of each pulse, beginning anywhere, each of length 1; shape (12, pulses)."""
    count = max(1, int(chroma.shape[1] / period))
    edges = np.minimum((np.arange(count) * period).astype(int), chroma.shape[1] - 1)
    sums = np.add.reduceat(chroma, edges, axis=1)
    # A pulse with drums has as much to say as one without.
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=0), 1e-6), dtype=np.float32)


def _pattern(pulses: Floats) -> NDArray[np.float64]:
    """A unit vector of `SIZE` values: how strong each change of pitch by time is, over all patches."""
    patches = np.lib.stride_tricks.sliding_window_view(_filled(pulses), PATCH_PULSES, axis=1)[:, ::STEP_PULSES]
    magnitudes = np.abs(np.fft.rfft2(patches, axes=(0, 2))).mean(axis=1) ** POWER
    columns = [magnitudes[1 : STILL_ROWS + 1, 0], *magnitudes[:, 1 : MOVING_COLUMNS + 1].T]
    return _unit(np.concatenate([_centred(column) for column in columns]))


def _filled(pulses: Floats) -> Floats:
    """At least one patch long: what is short is repeated."""
    missing = PATCH_PULSES - pulses.shape[1]
    return np.pad(pulses, ((0, 0), (0, missing)), mode="wrap") if missing > 0 else pulses


def _centred(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """A column as strong as the others, without what its rows have in common: that would drown the rest."""
    column = _unit(column)
    return np.asarray(column - column.mean(), dtype=np.float64)


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 0 else values
