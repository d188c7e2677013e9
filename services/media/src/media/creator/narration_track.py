"""The sound of a film: sentences one after the other, at one loudness. Runs in worker processes."""

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from common.events.creations import CaptionLine
from common.failures import Refused
from media.creator.film_wishes import SpokenLine
from media.music.music_features import SILENCE_LUFS, loudness_of

RATE = 48_000
# Quiet before the first word and behind the last, between sentences, and between scenes.
LEAD_SECONDS, TAIL_SECONDS, SENTENCE_SECONDS, SCENE_SECONDS = 0.6, 0.9, 0.25, 0.5
# Below this a voice is not speaking yet: what providers leave around a sentence would put captions out of step.
QUIET = 10 ** (-45 / 20)
EDGE_SECONDS = 0.02
# Peaks above it are rounded off, so that no player clips them.
CEILING = 10 ** (-1 / 20)
TRIES = 6
NEAR_LUFS = 0.1
FADE_SECONDS = 0.3
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NarrationTrack:
    """`samples` of one channel at `RATE`; when each sentence is said; when each scene ends, in seconds."""

    samples: Floats
    loudness: float
    captions: list[CaptionLine]
    scene_ends: list[float]


def track_of(lines: list[SpokenLine], scenes: int, loudness: float) -> NarrationTrack:
    """Put sentences together. Raises Refused for a file that is no sound."""
    parts, captions, ends = [_quiet(LEAD_SECONDS)], list[CaptionLine](), list[float]()
    at = LEAD_SECONDS
    for scene in range(scenes):
        for line in (line for line in lines if line.scene == scene):
            sound = _trimmed(_read(line.path))
            begin, at = at, at + len(sound) / RATE
            captions.append(CaptionLine(begin=round(begin, 3), end=round(at, 3), text=line.text))
            parts += [sound, _quiet(SENTENCE_SECONDS)]
            at += SENTENCE_SECONDS
        pause = TAIL_SECONDS if scene == scenes - 1 else SCENE_SECONDS
        parts.append(_quiet(pause))
        at += pause
        ends.append(at)
    samples, reached = levelled(np.concatenate(parts), loudness)
    return NarrationTrack(_faded(samples), reached, captions, ends)


def levelled(samples: Floats, wanted: float) -> tuple[Floats, float]:
    """Samples at an integrated loudness in LUFS, their peaks below the ceiling; and the loudness that was reached."""
    reached = loudness_of(samples[:, None], RATE)
    if reached <= SILENCE_LUFS:
        return samples, reached
    gain, made = wanted - reached, samples
    for _ in range(TRIES):
        made = _rounded(samples * np.float32(10 ** (gain / 20)))
        reached = loudness_of(made[:, None], RATE)
        if abs(reached - wanted) <= NEAR_LUFS:
            break
        # Rounding off took some of it away.
        gain += wanted - reached
    return made, reached


def _rounded(samples: Floats) -> Floats:
    """What is above three quarters of the ceiling bends, and nothing passes it."""
    knee = 0.75 * CEILING
    over = np.maximum(np.abs(samples) - knee, 0.0)
    bent = knee + (CEILING - knee) * np.tanh(over / (CEILING - knee))
    return np.asarray(np.where(over > 0, np.sign(samples) * bent, samples), dtype=np.float32)


def _faded(samples: Floats) -> Floats:
    count = min(len(samples) // 2, int(FADE_SECONDS * RATE))
    ramp = np.linspace(0, 1, count, dtype=np.float32)
    samples = samples.copy()
    samples[:count] *= ramp
    samples[len(samples) - count :] *= ramp[::-1]
    return samples


def _read(path: Path) -> Floats:
    try:
        with wave.open(str(path)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise Refused(502, f"What was spoken cannot be read: {error}.", "unreadable_speech", type="api_error") from None
    if width != 2:
        raise Refused(502, "What was spoken has samples of another size.", "unreadable_speech", type="api_error")
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32).reshape(-1, channels).mean(axis=1) / 32768
    return samples if rate == RATE else np.asarray(resample_poly(samples, RATE, rate), dtype=np.float32)


def _trimmed(samples: Floats) -> Floats:
    """Without the quiet around it."""
    loud = np.flatnonzero(np.abs(samples) > QUIET)
    if not len(loud):
        return samples
    edge = int(EDGE_SECONDS * RATE)
    return samples[max(0, loud[0] - edge) : loud[-1] + edge]


def _quiet(seconds: float) -> Floats:
    return np.zeros(int(seconds * RATE), dtype=np.float32)
