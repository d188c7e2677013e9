"""Scores that follow from the bytes they are about: the same media always measures the same."""

import hashlib
from collections.abc import Sequence

# The names of the current API are lower case, and another set for a voice than for a face.
VOICE_NAMES = ("joy", "anger", "calmness", "interest", "sadness", "surprise (positive)", "doubt", "chuckling")
VOICE_ATTRIBUTES = ("husky", "fast", "slow", "breathy", "background music")
FACE_NAMES = ("amusement", "interest", "surprise (positive)", "sadness", "anger", "concentration", "calmness")
FACE_DESCRIPTIONS = ("smile", "jaw drop", "wide-eyed", "frown")
# Some of the 48 of the former one, in its spelling.
BATCH_NAMES = ("Admiration", "Amusement", "Anger", "Calmness", "Joy", "Interest", "Sadness", "Surprise (positive)")


def made_up(names: Sequence[str], data: bytes, *, least: float = 0.0) -> list[tuple[str, float]]:
    """Each name with a score above `least`, the highest first."""
    digest = hashlib.sha256(data).digest()
    scores = [(name, round(digest[at % len(digest)] / 255, 4)) for at, name in enumerate(names)]
    return sorted(((name, score) for name, score in scores if score > least), key=lambda each: (-each[1], each[0]))
