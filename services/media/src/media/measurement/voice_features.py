"""What can be told of a voice without a model: pitch, energy, speaking rate, pauses. Runs in worker processes.

Pitch is the normalised autocorrelation of short frames (Boersma, "Accurate short-term analysis of the fundamental
frequency", 1993, without its path finder). Syllables are peaks of the energy with dips around them, in voiced speech
(de Jong and Wempe, "Praat script to detect syllable nuclei", 2009). Speakers are not told apart.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from common.kernel.worker_main import report
from media.measurement.findings import VoiceFeatures, VoiceWindow
from media.measurement.pcm_file import RATE, samples_of

HOP = 160  # 10 ms
FRAME = 640  # 40 ms: two periods of the lowest pitch
FFT = 2048
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
VOICED = 0.45
FLOOR_DB = -80.0
# A pause is at least this long, and this much quieter than the loud parts.
PAUSE_SECONDS = 0.25
PAUSE_BELOW_DB = 25.0
# Below this everything is silence.
SILENCE_DB = -55.0
# Syllables: smoothed over 50 ms, at least 100 ms apart, with dips of 2 dB.
SMOOTH_HOPS = 5
SYLLABLE_HOPS = 10
SYLLABLE_DIP_DB = 2.0
BATCH = 6000  # frames at once: a minute

Floats = NDArray[np.float32]
Marks = NDArray[np.bool_]


def voice_features(pcm: Path, window_seconds: float) -> VoiceFeatures:
    """Measure a file of samples."""
    samples = samples_of(pcm)
    energy, pitch = _frames(samples)
    paused = _paused(energy)
    syllables = _syllables(energy, pitch, paused)
    hops = max(1, round(window_seconds * RATE / HOP))
    last = len(samples) / RATE
    windows = [
        _window(slice(at, at + hops), (energy, pitch, paused, syllables), last) for at in range(0, len(energy), hops)
    ]
    return VoiceFeatures(windows, _runs(paused, last))


def _frames(samples: NDArray[np.int16]) -> tuple[Floats, Floats]:
    """Energy in dB below full scale, and pitch in Hz (0 where there is none), every `HOP` samples."""
    count = max(1, -(-len(samples) // HOP))
    energy, pitch = np.full(count, FLOOR_DB, np.float32), np.zeros(count, np.float32)
    hann = np.hanning(FRAME).astype(np.float32)
    shape = _autocorrelation(hann[None, :])[0]
    for at in range(0, count, BATCH):
        some = samples[at * HOP : (at + BATCH) * HOP + FRAME].astype(np.float32) / 32768.0
        some = np.pad(some, (0, max(0, min(BATCH, count - at) * HOP + FRAME - len(some))))
        frames = np.lib.stride_tricks.sliding_window_view(some, FRAME)[::HOP][: min(BATCH, count - at)]
        frames = frames - frames.mean(axis=1, keepdims=True)
        power = np.square(frames).mean(axis=1)
        energy[at : at + len(frames)] = np.maximum(FLOOR_DB, 10 * np.log10(power + 1e-12))
        pitch[at : at + len(frames)] = _pitch(_autocorrelation(frames * hann) / shape)
        report(min(count, at + BATCH) * HOP / RATE)
    pitch[energy < SILENCE_DB] = 0.0
    return energy, pitch


def _autocorrelation(frames: Floats) -> Floats:
    """Of each frame, as a share of its value at no lag."""
    spectrum = np.fft.rfft(frames, FFT, axis=1)
    correlation: Floats = np.fft.irfft(np.square(np.abs(spectrum)), axis=1)[:, :FRAME].astype(np.float32)
    return (correlation / np.maximum(correlation[:, :1], 1e-9)).astype(np.float32)


def _pitch(correlation: Floats) -> Floats:
    shortest, longest = int(RATE / HIGHEST_HZ), int(RATE / LOWEST_HZ)
    lags = np.arange(shortest, longest)
    # An octave below fits as well as the pitch itself: of equals the shorter lag is meant.
    weighted = correlation[:, shortest:longest] - 0.01 * np.log2(lags * LOWEST_HZ / RATE + 1.0)
    best = np.argmax(weighted, axis=1)
    strength = np.take_along_axis(correlation[:, shortest:longest], best[:, None], axis=1)[:, 0]
    found: Floats = np.where(strength >= VOICED, RATE / (lags[best]), 0.0).astype(np.float32)
    return found


def _paused(energy: Floats) -> Marks:
    """Where nothing is said for at least `PAUSE_SECONDS`."""
    quiet = energy < max(SILENCE_DB, float(np.percentile(energy, 95)) - PAUSE_BELOW_DB)
    paused = np.zeros_like(quiet)
    least = int(PAUSE_SECONDS * RATE / HOP)
    for begin, end in _spans(quiet):
        paused[begin:end] = end - begin >= least
    return paused


def _syllables(energy: Floats, pitch: Floats, paused: Marks) -> Marks:
    """Where the middle of a syllable is."""
    smooth = uniform_filter1d(energy, SMOOTH_HOPS)
    peaks, _ = find_peaks(smooth, prominence=SYLLABLE_DIP_DB, distance=SYLLABLE_HOPS)
    found = np.zeros(len(energy), np.bool_)
    found[[at for at in peaks if not paused[at] and pitch[max(0, at - 2) : at + 3].any()]] = True
    return found


def _window(part: slice, tracks: tuple[Floats, Floats, Marks, Marks], last: float) -> VoiceWindow:
    energy, pitch, paused, syllables = tracks[0][part], tracks[1][part], tracks[2][part], tracks[3][part]
    begin, end = part.start * HOP / RATE, min(last, part.stop * HOP / RATE)
    voiced = pitch[pitch > 0]
    power = float(np.mean(np.power(10.0, energy / 10.0)))
    return VoiceWindow(
        begin=round(begin, 3),
        end=round(end, 3),
        pitch_hz=round(float(np.median(voiced)), 1) if len(voiced) else None,
        pitch_range_semitones=_semitones(voiced),
        energy_db=round(10 * float(np.log10(power + 1e-12)), 1),
        voiced_share=round(float(np.mean(pitch > 0)), 3),
        syllables_per_second=round(float(syllables.sum()) / max(end - begin, HOP / RATE), 2),
        pause_share=round(float(np.mean(paused)), 3),
    )


def _semitones(voiced: Floats) -> float | None:
    """Between the 10th and the 90th percentile, which single mistakes do not move."""
    if len(voiced) < 2:
        return None
    low, high = np.percentile(voiced, [10, 90])
    return round(float(12 * np.log2(high / low)), 1)


def _runs(marked: Marks, last: float) -> list[tuple[float, float]]:
    return [(round(begin * HOP / RATE, 3), round(min(last, end * HOP / RATE), 3)) for begin, end in _spans(marked)]


def _spans(marked: Marks) -> list[tuple[int, int]]:
    """Where it is true, as begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
