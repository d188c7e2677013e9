"""The key of a track: its pitch classes beside the profiles of Krumhansl and Kessler.

A track whose pitch classes correlate best with the profile of a key is in that key (Krumhansl, "Cognitive foundations
of musical pitch", 1990).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from media.music.spectrogram import Spectrogram
from media.music.track_samples import Floats

Mode = Literal["major", "minor"]
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
# Below, semitones are nearer to each other than bins; above, there is hardly anything but overtones.
LOWEST_HZ, HIGHEST_HZ = 110.0, 2000.0
A4_HZ = 440.0
A = 9
# A bin counts for the pitches around it by its distance in semitones.
SPREAD = 0.35
# Where partials stand exactly is seen in peaks from here on; so far below the loudest they are noise. One frame in
# eight says it as well as all.
TUNING_LOWEST_HZ, TUNING_FLOOR, TUNING_STEP = 400.0, 0.02, 8
# How much of the peaks must agree, from 0 to 1: drums alone are not in tune with anything.
TUNING_CLEAR = 0.3


@dataclass(frozen=True, slots=True)
class MusicalKey:
    """`tonic` is one of `PITCHES`; `confidence` is by how much it is ahead of the next key, from 0 to 1."""

    tonic: str
    mode: Mode
    confidence: float


def chroma_of(found: Spectrogram) -> Floats:
    """How strong each pitch class is in each frame; shape (12, frames), each frame at most 1."""
    use = (found.frequencies >= LOWEST_HZ) & (found.frequencies <= HIGHEST_HZ)
    magnitudes = _peaks(np.log1p(1000 * found.magnitudes[use]))
    chroma = _weights(found.frequencies[use] * 2 ** (-tuning_of(found) / 12)) @ magnitudes
    return np.asarray(chroma / np.maximum(chroma.max(axis=0), 1e-6), dtype=np.float32)


def tuning_of(found: Spectrogram) -> float:
    """By how many semitones its pitches are above those of an A of 440 Hz, from -0.5 to 0.5; 0 where it is not clear.

    The mean angle of all peaks on the circle of a semitone; their places between bins are those of parabolas.
    """
    first, last = np.searchsorted(found.frequencies, (TUNING_LOWEST_HZ, HIGHEST_HZ))
    magnitudes = found.magnitudes[first - 1 : last + 1, ::TUNING_STEP]
    below, at, above = magnitudes[:-2], magnitudes[1:-1], magnitudes[2:]
    rows, frames = np.nonzero((at > below) & (at >= above) & (at > TUNING_FLOOR * at.max(axis=0)))
    if not len(rows):
        return 0.0
    left, middle, right = (np.log(each[rows, frames] + 1e-9) for each in (below, at, above))
    offset = 0.5 * (left - right) / (left - 2 * middle + right)
    pitch = 12 * np.log2((first + rows + offset) * found.frequencies[1] / A4_HZ)
    strength = at[rows, frames]
    mean = complex((strength * np.exp(2j * np.pi * pitch)).sum() / strength.sum())
    return float(np.angle(mean) / (2 * np.pi)) if abs(mean) > TUNING_CLEAR else 0.0


def _peaks(magnitudes: Floats) -> Floats:
    """What stands out among its neighbours: the noise of drums is spread over all pitches, notes are not."""
    around = np.maximum(np.roll(magnitudes, 1, axis=0), np.roll(magnitudes, -1, axis=0))
    return np.where(magnitudes >= around, magnitudes, 0.0).astype(np.float32)


def _weights(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each bin counts for each pitch class; shape (12, bins)."""
    pitch = (12 * np.log2(frequencies / A4_HZ) + A) % 12
    distance = np.abs(pitch[None, :] - np.arange(12)[:, None])
    distance = np.minimum(distance, 12 - distance)
    return np.asarray(np.exp(-0.5 * (distance / SPREAD) ** 2), dtype=np.float64)


def key_of(chroma: Floats) -> MusicalKey:
    """The key of the whole track."""
    profile = chroma.mean(axis=1)
    scores = {
        (tonic, mode): _correlation(profile, np.roll(shape, at))
        for at, tonic in enumerate(PITCHES)
        for mode, shape in (("major", MAJOR), ("minor", MINOR))
    }
    (best, second) = sorted(scores.items(), key=lambda each: -each[1])[:2]
    (tonic, mode), score = best
    return MusicalKey(tonic, "major" if mode == "major" else "minor", round(max(0.0, score - second[1]), 3))


def _correlation(profile: NDArray[np.floating], shape: NDArray[np.float64]) -> float:
    if profile.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(profile, shape)[0, 1])
