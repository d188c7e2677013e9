"""The voice on this machine; runs in worker processes alone, which hold its model."""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

# The voice inside the package; it is the one that is always there.
BUNDLED = "heart"
# The noise in it is the same each time, so that the same text gives the same samples.
SEED = 1
_loading = threading.Lock()


class NoLocalVoice(Exception):
    """The engine or its model is not installed; the message says what to do."""


class NothingSaid(Exception):
    """The voice has no sounds for this text."""


def speak(text: str, voice: str, speed: float, models: str) -> tuple[bytes, int]:
    """Samples of 16 bits in one channel, and their rate. Raises NoLocalVoice and NothingSaid."""
    engine = _engine(*_file(voice, models))
    sound = engine(text, speed=speed, seed=SEED)
    if not len(sound) or float(np.max(np.abs(sound))) < 1e-4:
        raise NothingSaid("The voice on this machine speaks English only.")
    return np.asarray(np.clip(sound, -1, 1) * 32767, dtype="<i2").tobytes(), engine.sample_rate


def available(models: str) -> list[str]:
    """The voices whose model is here. Raises NoLocalVoice."""
    voices = _package().voices.VOICES
    return [name for name, each in voices.items() if each.get("bundled") or _path(name, each, models)]


def _file(voice: str, models: str) -> tuple[str, str]:
    """The voice to use with the file of its model: the one that is asked for where it is here, else the bundled one.

    The package would fetch what is missing from the network, which nobody asked for: it never gets to that.
    """
    voices = _package().voices
    found = voices.VOICES.get(voice)
    if found is not None and not found.get("bundled") and (path := _path(voice, found, models)):
        return voice, path
    try:
        return BUNDLED, str(voices.voice_path(BUNDLED, download_missing=False))
    except (OSError, ValueError, KeyError) as error:
        raise NoLocalVoice(f"The model of the voice on this machine is missing: {error}") from None


def _path(name: str, voice: Any, models: str) -> str:
    """The file of a voice that is not in the package; empty where it is not here."""
    if not models:
        return ""
    path = Path(models) / "hibari" / Path(str(voice.get("file", name))).name
    return str(path) if path.is_file() else ""


@lru_cache(maxsize=2)
def _engine(name: str, path: str) -> Any:
    with _loading:
        return _package().Hibari(voice=name, model=path, threads=1)


def _package() -> Any:
    try:
        import hibari
        import hibari.voices
    except ImportError as error:
        message = f"The package hibari-tts with the voice on this machine is not installed: {error}"
        raise NoLocalVoice(message) from None
    return hibari
