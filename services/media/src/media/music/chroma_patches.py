"""What a track's harmony is, whatever its key, its tempo and where one begins to listen.

Chroma by the beat is cut into patches; of each the magnitudes of its two-dimensional Fourier transform are kept, which
do not change when the patch is transposed or begins later (Bertin-Mahieux and Ellis, "Large-scale cover song
recognition using the 2D Fourier transform magnitude", 2012). The median over all patches stands for the track.
"""

import numpy as np
from numpy.typing import NDArray

from media.music.spectrogram import FRAMES_PER_SECOND
from media.music.track_samples import Floats

# Four bars of four beats, and how far one patch begins behind the other. Longer ones tell songs apart a little better,
# and do not fit into excerpts.
PATCH_BEATS, STEP_BEATS = 16, 2
# Of the pitch axis these magnitudes differ, the others mirror them; of the beat axis those of slow change are kept.
PITCH_ROWS, BEAT_COLUMNS = 7, 9
SIZE = PITCH_ROWS * BEAT_COLUMNS
POWER = 0.5


def harmony_of(chroma: Floats, bpm: float) -> Floats:
    """A unit vector of `SIZE` values; zeros where there is no harmony."""
    beats = _by_beat(chroma, 60.0 * FRAMES_PER_SECOND / bpm)
    starts = range(0, max(1, beats.shape[1] - PATCH_BEATS + 1), STEP_BEATS)
    patches = [_magnitudes(_filled(beats[:, at : at + PATCH_BEATS])) for at in starts]
    found = np.median(patches, axis=0).ravel() ** POWER
    # What all tracks have in common would drown the rest.
    found = found - found.mean()
    norm = float(np.linalg.norm(found))
    return np.asarray(found / norm if norm > 0 else found, dtype=np.float32)


def _by_beat(chroma: Floats, period: float) -> Floats:
    """The mean chroma of each beat, beginning anywhere; shape (12, beats)."""
    count = max(1, int(chroma.shape[1] / period))
    edges = np.minimum((np.arange(count) * period).astype(int), chroma.shape[1] - 1)
    sums = np.add.reduceat(chroma, edges, axis=1)
    sizes = np.diff(np.append(edges, chroma.shape[1]))
    return np.asarray(sums / np.maximum(sizes, 1), dtype=np.float32)


def _filled(patch: Floats) -> Floats:
    """A patch of full length: what is short is repeated."""
    times = -(-PATCH_BEATS // patch.shape[1])
    return np.tile(patch, (1, times))[:, :PATCH_BEATS]


def _magnitudes(patch: Floats) -> NDArray[np.float64]:
    centred = patch - patch.mean()
    return np.abs(np.fft.fft2(centred))[:PITCH_ROWS, :BEAT_COLUMNS]
