"""The tempo of a track, by autocorrelation of its spectral flux.

The flux is how much louder the bands get from one frame to the next (Dixon, "Onset detection revisited", 2006). Its
autocorrelation has peaks at the beat and at its multiples and parts; which of them people tap is decided by how often
they tap such tempi, after Ellis, "Beat tracking by dynamic programming", 2007.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from media.music.spectrogram import FRAMES_PER_SECOND, Spectrogram
from media.music.track_samples import Floats

SLOWEST_BPM, FASTEST_BPM = 50.0, 210.0
# What people tap: most often 120 a minute, and rarely half or twice that.
USUAL_BPM, USUAL_OCTAVES = 120.0, 0.5
BANDS = 40
LOWEST_HZ = 30.0
# The flux of a second is the ground from which onsets stand out.
GROUND_SECONDS = 1.0
# Quiet bands count nearly as much as loud ones: a hat marks the beat as well as a kick.
COMPRESSION = 10_000
STEP_BPM = 0.25


@dataclass(frozen=True, slots=True)
class Tempo:
    """Beats a minute, and from 0 to 1 how clear they are; `onsets` is the flux, one value a frame."""

    bpm: float
    confidence: float
    onsets: Floats


def tempo_of(found: Spectrogram) -> Tempo:
    """The tempo that most people would tap."""
    onsets = onset_strength(found)
    correlation = _autocorrelation(onsets)
    tempi = np.arange(SLOWEST_BPM, FASTEST_BPM, STEP_BPM)
    periods = 60.0 * FRAMES_PER_SECOND / tempi
    strength = np.interp(periods, np.arange(len(correlation)), correlation, right=0.0)
    weighted = strength * np.exp(-0.5 * (np.log2(tempi / USUAL_BPM) / USUAL_OCTAVES) ** 2)
    best = int(np.argmax(weighted))
    return Tempo(round(float(tempi[best]), 2), round(float(np.clip(strength[best], 0, 1)), 3), onsets)


def onset_strength(found: Spectrogram) -> Floats:
    """How much begins in each frame, above what begins all the time."""
    bands = np.log1p(COMPRESSION * _bands(found))
    rise = np.maximum(0.0, np.diff(bands, axis=1, prepend=bands[:, :1])).mean(axis=0)
    ground = uniform_filter1d(rise, max(3, round(GROUND_SECONDS * FRAMES_PER_SECOND)))
    onsets = np.maximum(0.0, rise - ground)
    return np.asarray(gaussian_filter1d(onsets, 1.0), dtype=np.float32)


def _bands(found: Spectrogram) -> Floats:
    """The spectrum in bands whose widths grow with their frequency; shape (bands, frames)."""
    edges = np.geomspace(LOWEST_HZ, found.frequencies[-1], BANDS + 1)
    at = np.unique(np.searchsorted(found.frequencies, edges))
    at = at[at < len(found.frequencies)]
    widths = np.diff(np.append(at, len(found.frequencies)))[:, None]
    return np.asarray(np.add.reduceat(found.magnitudes, at, axis=0) / widths, dtype=np.float32)


def _autocorrelation(onsets: Floats) -> NDArray[np.float64]:
    """From lag 0 on, where it is 1; zeros for a track in which nothing begins."""
    centred = onsets - onsets.mean()
    size = 1 << (2 * len(centred) - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    raw = np.fft.irfft(spectrum * np.conj(spectrum), size)[: len(centred)]
    # Long lags have fewer products: each is taken by its own number of them.
    raw = raw / np.arange(len(centred), 0, -1)
    return raw / raw[0] if raw[0] > 0 else np.zeros_like(raw)
