"""A track's magnitude spectrogram, made once for all that is measured from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from media.music.track_samples import RATE, Floats

FRAME = 2048  # 93 ms: semitones are told apart from 200 Hz on
HOP = 512  # 23 ms
# Frames a second.
FRAMES_PER_SECOND = RATE / HOP
# A minute at once: what a transform of all would take beside its result is a multiple of it.
BATCH_FRAMES = 2600


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """`magnitudes` has the shape (bins, frames); `frequencies` in Hz, one a bin."""

    magnitudes: Floats
    frequencies: NDArray[np.float64]


def spectrogram(mono: Floats) -> Spectrogram:
    """The magnitudes of samples of shape (n,)."""
    transform = ShortTimeFFT(hann(FRAME, sym=False).astype(np.float32), HOP, RATE, scale_to="magnitude")
    last = max(1, len(mono) // HOP)
    parts = [
        np.abs(transform.stft(mono, p0=at, p1=min(last, at + BATCH_FRAMES))).astype(np.float32)
        for at in range(0, last, BATCH_FRAMES)
    ]
    return Spectrogram(np.concatenate(parts, axis=1), transform.f)
