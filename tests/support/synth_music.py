"""Tracks of music whose tempo and key are known: chords, bass, melody and drums, made of sines and noise."""

import io
from dataclasses import dataclass, replace

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 22_050
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Degrees of the scale, a bar each; all begin or end at home.
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4), (0, 5, 1, 4), (0, 2, 3, 4), (0, 3, 5, 4))
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Song:
    """`composition` decides chords, melody and groove; `sound` what it is played with."""

    composition: int
    sound: int
    bpm: float
    tonic: int
    mode: str
    bars: int = 16
    drums: float = 1.0

    @property
    def key(self) -> str:
        return PITCHES[self.tonic]


def random_song(seed: int, *, bars: int = 16) -> Song:
    dice = np.random.default_rng(seed)
    mode = "major" if dice.random() < 0.6 else "minor"
    bpm = round(float(dice.uniform(75, 165)), 1)
    drums = float(dice.choice([0.5, 1.0, 1.5]))
    return Song(seed, int(dice.integers(1 << 30)), bpm, int(dice.integers(12)), mode, bars, drums)


def cover_of(song: Song, seed: int) -> Song:
    """The same composition by others: another key, tempo and sound."""
    dice = np.random.default_rng(seed)
    bpm = song.bpm * float(dice.choice([0.88, 0.94, 1.06, 1.12]))
    return replace(
        song, sound=song.sound + 1 + seed, bpm=round(bpm, 1), tonic=(song.tonic + int(dice.integers(1, 12))) % 12
    )


def played(song: Song) -> Samples:
    """The samples of a song, one channel between -1 and 1."""
    dice, sound = np.random.default_rng(song.composition), np.random.default_rng(song.sound)
    beat = 60.0 / song.bpm
    out = np.zeros(int((song.bars * 4 * beat + 1.0) * RATE))
    overtones = np.asarray(sound.uniform(0.2, 0.7) ** np.arange(1, 7), dtype=np.float64)
    scale, chords = SCALES[song.mode], _chords(dice, song.bars)
    groove, melody = _groove(dice), dice.integers(-2, 5, size=(4, 8))
    for bar, degree in enumerate(chords):
        at = bar * 4 * beat
        for step in (0, 2, 4):
            _add(out, at, _note(song.tonic + _pitch(scale, degree + step) + 60, 4 * beat, overtones, 0.10))
        for half in range(2):
            _add(out, at + 2 * half * beat, _note(song.tonic + _pitch(scale, degree) + 48, 2 * beat, overtones, 0.22))
        for eighth, offset in enumerate(melody[bar % 4]):
            if offset >= -1:
                pitch = song.tonic + _pitch(scale, degree + 2 * int(offset) % 7) + 72
                _add(out, at + eighth * beat / 2, _note(pitch, beat / 2, overtones, 0.09))
        for eighth in range(8):
            for hit in groove[eighth]:
                _add(out, at + eighth * beat / 2, song.drums * _drum(hit, sound))
    return np.asarray(out / np.max(np.abs(out)) * 0.8)


def as_file(samples: Samples, kind: str = "WAV", *, rate: int = RATE) -> bytes:
    """The samples as a file: WAV, FLAC, OGG or MP3."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def _chords(dice: np.random.Generator, bars: int) -> list[int]:
    parts = [PROGRESSIONS[int(dice.integers(len(PROGRESSIONS)))] for _ in range(2)]
    return [parts[bar // 8 % 2][bar % 4] for bar in range(bars)]


def _groove(dice: np.random.Generator) -> list[str]:
    """What is hit on each eighth: kick, snare, hat."""
    hits = [""] * 8
    for eighth in (0, 4):
        hits[eighth] += "k"
    for eighth in (2, 6):
        hits[eighth] += "s"
    for eighth in range(0, 8, 1 if dice.random() < 0.6 else 2):
        hits[eighth] += "h"
    if dice.random() < 0.5:
        hits[int(dice.choice([3, 5, 7]))] += "k"
    return hits


def _pitch(scale: tuple[int, ...], degree: int) -> int:
    return scale[degree % 7] + 12 * (degree // 7)


def _note(midi: int, seconds: float, overtones: Samples, gain: float) -> Samples:
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 440.0 * 2 ** ((midi - 69) / 12)
    wave = sum(share * np.sin(2 * np.pi * pitch * n * time) for n, share in enumerate([1.0, *overtones], 1))
    attack = np.minimum(1.0, time / 0.01) * np.exp(-time * 1.5 / seconds)
    return np.asarray(gain * wave * attack)


def _drum(kind: str, dice: np.random.Generator) -> Samples:
    time = np.arange(int(0.18 * RATE)) / RATE
    if kind == "k":
        return np.asarray(0.5 * np.sin(2 * np.pi * (50 + 60 * np.exp(-time * 40)) * time) * np.exp(-time * 22))
    noise = dice.normal(size=len(time))
    if kind == "s":
        return np.asarray(0.16 * noise * np.exp(-time * 25))
    return np.asarray(0.07 * np.diff(noise, prepend=0) * np.exp(-time * 60))


def _add(out: Samples, at: float, sound: Samples) -> None:
    begin = int(at * RATE)
    part = sound[: max(0, len(out) - begin)]
    out[begin : begin + len(part)] += part
