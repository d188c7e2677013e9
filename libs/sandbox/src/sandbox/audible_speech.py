"""Speech that can be heard: a tone with formants for each syllable of a text, so that its length follows the text."""

import hashlib
import io
import re
from functools import lru_cache
from typing import Any, Literal

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

SYLLABLE_SECONDS = 0.17
WORD_GAP_SECONDS = 0.05
# Behind which marks a speaker rests, and for how long.
PAUSES = {",": 0.15, ";": 0.2, ":": 0.2, ".": 0.3, "!": 0.3, "?": 0.3, "\u3002": 0.3, "\u3001": 0.15, "\n": 0.4}
# What a syllable may be in scripts that write words without spaces.
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_VOWELS = re.compile("[aeiouy\u00e4\u00f6\u00fc\u00e0-\u00e6\u00e8-\u00ef\u00f2-\u00f6\u00f9-\u00fd]+", re.IGNORECASE)
_TOKENS = re.compile(r"\w+|[^\w\s]|\n", re.UNICODE)
# The two lowest formants (in hertz) of a few vowels; which one a syllable gets follows from its letters.
FORMANTS = ((730, 1090), (530, 1840), (270, 2290), (570, 840), (300, 870), (660, 1720))
LOUDNESS = 0.25
MAX_SECONDS = 1_800.0
_CONTAINERS = {
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "aac": ("adts", "aac"),
    "flac": ("flac", "flac"),
}


def syllables(word: str) -> int:
    """How many syllables a word has, about."""
    wide = len(_WIDE.findall(word))
    return wide or max(1, len(_VOWELS.findall(word)))


def seconds_of(text: str, speed: float = 1.0) -> float:
    """How long a text takes to say, without making it."""
    total = 0.0
    for token in _TOKENS.findall(text):
        total += PAUSES.get(token, 0.0)
        if token[0].isalnum():
            total += syllables(token) * SYLLABLE_SECONDS + WORD_GAP_SECONDS
    return min(MAX_SECONDS, total / speed)


def spoken(text: str, rate: int, *, speed: float = 1.0, voice: str = "") -> bytes:
    """The samples of a text: 16 bits, little-endian, one channel. A voice has its own pitch."""
    # Loaded when somebody speaks: most runs of the stand-ins have no use for it.
    import numpy as np

    pitch = 95.0 + hashlib.sha256(voice.encode()).digest()[0] / 2
    parts = list[Any]()
    left = int(MAX_SECONDS * rate)
    for token in _TOKENS.findall(text):
        for part in _of_token(token, rate, speed, pitch):
            parts.append(part[:left])
            left -= len(parts[-1])
        if left <= 0:
            break
    samples = np.concatenate(parts) if parts else np.zeros(0)
    return np.asarray(np.clip(samples, -1, 1) * 32767, dtype="<i2").tobytes()


def _of_token(token: str, rate: int, speed: float, pitch: float) -> list[Any]:
    import numpy as np

    if not token[0].isalnum():
        return [np.zeros(int(PAUSES.get(token, 0.0) / speed * rate))]
    count = syllables(token)
    size = int(SYLLABLE_SECONDS / speed * rate)
    kinds = hashlib.sha256(token.lower().encode()).digest()
    sounds = [_syllable(kinds[index % len(kinds)] % len(FORMANTS), size, rate, pitch) for index in range(count)]
    return [*sounds, np.zeros(int(WORD_GAP_SECONDS / speed * rate))]


@lru_cache(maxsize=256)
def _syllable(kind: int, size: int, rate: int, pitch: float) -> Any:
    """The harmonics of a pitch, loud near the formants of a vowel, swelling and fading away."""
    import numpy as np

    at = np.arange(size) / rate
    sound = np.zeros(size)
    for harmonic in range(1, 24):
        frequency = harmonic * pitch
        if frequency > min(3_400.0, rate / 2.2):
            break
        weight = sum(np.exp(-(((frequency - formant) / 180.0) ** 2)) for formant in FORMANTS[kind]) + 0.05
        sound += weight * np.sin(2 * np.pi * frequency * at)
    envelope = np.sin(np.pi * np.arange(size) / max(1, size)) ** 0.5
    peak = float(np.max(np.abs(sound))) or 1.0
    return LOUDNESS * envelope * sound / peak


def encoded(samples: bytes, rate: int, format: Format) -> bytes:
    """The samples as a file of this format."""
    if format == "pcm":
        return samples
    if format == "wav":
        return wav(samples, rate)
    import av
    import numpy as np

    container, codec = _CONTAINERS[format]
    target = io.BytesIO()
    with av.open(target, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=48_000 if format == "opus" else rate)
        stream.layout = "mono"
        if samples:
            frame = av.AudioFrame.from_ndarray(np.frombuffer(samples, "<i2").reshape(1, -1), "s16", "mono")
            frame.sample_rate = rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


def wav(samples: bytes, rate: int) -> bytes:
    """The samples behind a WAV header."""
    sizes = [len(samples) + 36, 16, 1 | 1 << 16, rate, 2 * rate, 2 | 16 << 16, len(samples)]
    words = [size.to_bytes(4, "little") for size in sizes]
    return b"RIFF" + words[0] + b"WAVEfmt " + b"".join(words[1:6]) + b"data" + words[6] + samples
