"""Everything that is measured of a track of music, in one pass over its samples. Runs in worker processes."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyloudnorm

from media.music.chroma_patches import SIZE as HARMONY_SIZE
from media.music.chroma_patches import harmony_of
from media.music.musical_key import Mode, chroma_of, key_of
from media.music.spectrogram import spectrogram
from media.music.tempo import tempo_of
from media.music.timbre import COLOUR_SIZE, RHYTHM_SIZE, colour_of, rhythm_of
from media.music.track_samples import RATE, Floats, read_track

# Below this there is silence (ITU-R BS.1770 gates it out).
SILENCE_LUFS = -70.0
# How much the parts of a descriptor count: what is played, what it sounds like, how it moves.
HARMONY, COLOUR, RHYTHM = 0.9, 0.07, 0.03
DESCRIPTOR_SIZE = HARMONY_SIZE + COLOUR_SIZE + RHYTHM_SIZE


@dataclass(frozen=True, slots=True)
class MusicFeatures:
    """What a track is like. `seconds` were listened to, of a file that may go on (`cut`).

    `loudness_lufs` is integrated (ITU-R BS.1770-4); `energy_db` the mean level below full scale. `descriptor` is a unit
    vector of `DESCRIPTOR_SIZE` values, zeros for silence: covers and excerpts of a track are near to it.
    """

    seconds: float
    cut: bool
    tempo_bpm: float
    tempo_confidence: float
    key: str
    mode: Mode
    key_confidence: float
    loudness_lufs: float
    energy_db: float
    descriptor: tuple[float, ...]


def analyse(path: Path, content_type: str, max_seconds: float = 600.0) -> MusicFeatures:
    """Listen to a file. Raises MediaError."""
    track = read_track(path, content_type, max_seconds)
    mono = track.mono
    found = spectrogram(mono)
    tempo, chroma = tempo_of(found), chroma_of(found)
    key = key_of(chroma)
    level = float(np.sqrt(np.mean(np.square(mono, dtype=np.float64))))
    parts = (
        math.sqrt(HARMONY) * harmony_of(chroma, tempo.bpm),
        math.sqrt(COLOUR) * colour_of(found),
        math.sqrt(RHYTHM) * rhythm_of(tempo.onsets, tempo.bpm),
    )
    silent = level < 1e-4
    descriptor = np.zeros(DESCRIPTOR_SIZE) if silent else np.concatenate(parts)
    return MusicFeatures(
        seconds=round(track.seconds, 3),
        cut=track.cut,
        tempo_bpm=tempo.bpm,
        tempo_confidence=tempo.confidence,
        key=key.tonic,
        mode=key.mode,
        key_confidence=key.confidence,
        loudness_lufs=loudness_of(track.samples, RATE),
        energy_db=round(20 * math.log10(max(level, 1e-5)), 2),
        descriptor=tuple(round(float(value), 6) for value in descriptor),
    )


def loudness_of(samples: Floats, rate: int) -> float:
    """Integrated loudness of samples of shape (frames, channels), in LUFS; `SILENCE_LUFS` for silence."""
    if len(samples) / rate <= 0.4:
        # Shorter than one gating block: its loudness is not defined.
        return SILENCE_LUFS
    with warnings.catch_warnings():
        # It says that there is nothing above the gate.
        warnings.simplefilter("ignore")
        loudness = float(pyloudnorm.Meter(rate).integrated_loudness(samples.astype(np.float64)))
    return round(max(SILENCE_LUFS, loudness), 2) if math.isfinite(loudness) else SILENCE_LUFS
