"""What a track sounds like: its spectral colour and how its loudness moves within a beat."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from media.music.spectrogram import FRAMES_PER_SECOND, Spectrogram
from media.music.track_samples import Floats

BANDS = 26
LOWEST_HZ = 60.0
# Cepstral coefficients behind the first, which is loudness alone; their means and their spreads are kept.
COEFFICIENTS = 12
COLOUR_SIZE = 2 * COEFFICIENTS
# Loudness of onsets at so many points of two beats.
RHYTHM_SIZE = 12
# Of cepstral coefficients, about: so that each says as much as the others.
SCALE = np.geomspace(4.0, 1.0, COEFFICIENTS)


def colour_of(found: Spectrogram) -> Floats:
    """A unit vector of `COLOUR_SIZE` values: cepstral coefficients, their means and their spreads."""
    edges = np.geomspace(LOWEST_HZ, found.frequencies[-1], BANDS + 1)
    at = np.unique(np.searchsorted(found.frequencies, edges))
    bands = np.add.reduceat(found.magnitudes, at[at < len(found.frequencies)], axis=0)
    cepstrum = dct(np.log(bands + 1e-5), axis=0, norm="ortho")[1 : COEFFICIENTS + 1]
    return _unit(np.concatenate([cepstrum.mean(axis=1) / SCALE, cepstrum.std(axis=1) / SCALE]))


def rhythm_of(onsets: Floats, bpm: float) -> Floats:
    """A unit vector of `RHYTHM_SIZE` values: how alike onsets are at parts of two beats, whatever the tempo."""
    centred = onsets - onsets.mean()
    beat = 60.0 * FRAMES_PER_SECOND / bpm
    lags = (np.arange(1, RHYTHM_SIZE + 1) * 2 * beat / RHYTHM_SIZE).round().astype(int)
    products = [float((centred[lag:] * centred[: len(centred) - lag]).mean()) for lag in lags if lag < len(centred)]
    return _unit(np.array(products + [0.0] * (RHYTHM_SIZE - len(products))))


def _unit(values: NDArray[np.floating]) -> Floats:
    """Without what all tracks have in common, and of length 1."""
    values = values - values.mean()
    norm = float(np.linalg.norm(values))
    return np.asarray(values / norm if norm > 0 else values, dtype=np.float32)
