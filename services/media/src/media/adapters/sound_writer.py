"""Pieces of sound joined, brought to one rate and speed, and encoded; runs in worker processes alone.

A writer is kept from one call to the next in the process that made it. What it takes and gives is bytes: samples of 16
bits in one channel go in, and what goes to the client comes out.
"""

import contextlib
import io
from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np

from media.audio_formats import FORMATS, SAMPLE_BYTES, wav_header

# Writers whose answers ended without a word to this process; the oldest of more are forgotten.
MAX_WRITERS = 64
# The ends of a piece are faded over this long, so that no jump is left where it meets the next.
FADE_SECONDS = 0.005
# Below this (of 1) it is quiet: -50 dB.
QUIET = 0.003
# How far the loudness of another provider's voice is brought to that of the one before.
MAX_GAIN = 2.0
PEAK = 0.98
SCALE = 32_767.0
# A piece of sound longer than this is not what was asked for.
MAX_PIECE_BYTES = 64 * 1024 * 1024

av.logging.set_level(av.logging.PANIC)


class WriterGone(LookupError):
    """The process that had this writer was ended; its stream cannot go on."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What a writer makes; `whole` gives all of it at the end."""

    format: str
    rate: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples at a rate, to be played at `tempo`, with `pause` seconds of quiet behind them; `source` spoke them."""

    samples: bytes
    rate: int
    source: str
    pause: float = 0.0
    tempo: float = 1.0


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes for the client, and how many samples of sound they add."""

    data: bytes
    samples: int


_writers: OrderedDict[str, "SoundWriter"] = OrderedDict()


def begin(id: str, writing: Writing) -> None:
    """Keep a new writer under this id."""
    _writers[id] = SoundWriter(writing)
    while len(_writers) > MAX_WRITERS:
        _writers.popitem(last=False)


def feed(id: str, piece: Piece) -> Written:
    """Write a piece. Raises WriterGone."""
    return _of(id).feed(piece)


def finish(id: str) -> Written:
    """What is left at the end; the writer is forgotten. Raises WriterGone."""
    written = _of(id).finish()
    forget(id)
    return written


def forget(id: str) -> None:
    """Nobody writes on."""
    _writers.pop(id, None)


def _of(id: str) -> "SoundWriter":
    try:
        return _writers[id]
    except KeyError:
        raise WriterGone(id) from None


class SoundWriter:
    """Joins pieces and encodes them."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._joiner = Joiner(writing.rate)
        self._encoder = _encoder(writing)

    def feed(self, piece: Piece) -> Written:
        """The bytes that a piece of sound adds."""
        if len(piece.samples) > MAX_PIECE_BYTES:
            raise ValueError("a piece of sound is too long")
        sound = resampled(_floats(piece.samples), piece.rate, self._writing.rate)
        sound = self._joiner.add(stretched(sound, self._writing.rate, piece.tempo), piece.pause, piece.source)
        return Written(self._encoder.encode(_ints(sound)), len(sound))

    def finish(self) -> Written:
        """The end of the file."""
        return Written(self._encoder.finish(), 0)


class Joiner:
    """Puts pieces one behind the other: no jump between them, a pause between sentences, their loudness as it was."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._pause = 0.0
        self._quiet_seconds = 0.0  # at the end of what was written
        self._begun = False
        self._source = ""
        self._loudness = 0.0

    def add(self, sound: Any, pause: float, source: str) -> Any:
        """The samples to go on with."""
        if not len(sound):
            return sound
        sound = faded(self._levelled(sound, source), self._rate)
        before, behind = _quiet_ends(sound, self._rate)
        missing = self._pause - self._quiet_seconds - before if self._begun else 0.0
        self._begun, self._pause, self._quiet_seconds = True, pause, behind
        if missing > 0:
            sound = np.concatenate([np.zeros(int(missing * self._rate), dtype=np.float32), sound])
        return sound

    def _levelled(self, sound: Any, source: str) -> Any:
        """The voice of another source, about as loud as the one before it; one voice stays as it speaks."""
        loudness = _loudness(sound)
        if self._source and source != self._source and loudness and self._loudness:
            gain = min(MAX_GAIN, max(1 / MAX_GAIN, self._loudness / loudness))
            peak = float(np.max(np.abs(sound))) * gain
            sound = sound * (gain if peak <= PEAK else gain * PEAK / peak)
            loudness = _loudness(sound)
        self._source, self._loudness = source, loudness or self._loudness
        return sound


def faded(sound: Any, rate: int) -> Any:
    """A piece whose ends come from and go to nothing; ends that are quiet already stay as they are."""
    size = min(int(FADE_SECONDS * rate), len(sound) // 2)
    if not size:
        return sound
    ramp = (0.5 - 0.5 * np.cos(np.pi * np.arange(size) / size)).astype(np.float32)
    sound = sound.copy()
    if np.max(np.abs(sound[:size])) > QUIET:
        sound[:size] *= ramp
    if np.max(np.abs(sound[-size:])) > QUIET:
        sound[-size:] *= ramp[::-1]
    return sound


def resampled(sound: Any, given: int, wanted: int) -> Any:
    """The same sound at another rate."""
    if given == wanted or not len(sound):
        return sound
    resampler = av.AudioResampler(format="flt", layout="mono", rate=wanted)
    frames = [*resampler.resample(_frame(sound, given, "flt", 0)), *resampler.resample(None)]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def _quiet_ends(sound: Any, rate: int) -> tuple[float, float]:
    """Seconds of quiet at the beginning and at the end."""
    loud = np.flatnonzero(np.abs(sound) > QUIET)
    if not len(loud):
        return len(sound) / rate, len(sound) / rate
    return float(loud[0]) / rate, float(len(sound) - 1 - loud[-1]) / rate


def _loudness(sound: Any) -> float:
    """Root mean square of what is not quiet."""
    loud = sound[np.abs(sound) > QUIET]
    return float(np.sqrt(np.mean(np.square(loud)))) if len(loud) else 0.0


def _floats(samples: bytes) -> Any:
    even = samples[: len(samples) // SAMPLE_BYTES * SAMPLE_BYTES]
    return np.frombuffer(even, "<i2").astype(np.float32) / np.float32(SCALE)


def _ints(sound: Any) -> Any:
    return np.asarray(np.rint(np.clip(sound, -1.0, 1.0) * SCALE), dtype="<i2")


def _frame(sound: Any, rate: int, format: str, at: int) -> Any:
    frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format, "mono")
    frame.sample_rate = rate
    frame.pts = at
    frame.time_base = Fraction(1, rate)
    return frame


def stretched(sound: Any, rate: int, tempo: float) -> Any:
    """The same sound at another tempo and the same pitch, by FFmpeg's `atempo`."""
    if abs(tempo - 1.0) < 0.001 or not len(sound):
        return sound
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout="mono", channels=1, time_base=Fraction(1, rate))
    nodes = [source, *(graph.add("atempo", f"{factor:.6f}") for factor in factors(tempo)), graph.add("abuffersink")]
    graph.link_nodes(*nodes).configure()
    source.push(_frame(sound, rate, "flt", 0))
    source.push(None)
    parts = []
    with contextlib.suppress(BlockingIOError, EOFError):
        while True:
            frame: Any = nodes[-1].pull()
            parts.append(frame.to_ndarray().reshape(-1))
    return np.concatenate(parts) if parts else sound[:0]


def factors(tempo: float) -> list[float]:
    """What `atempo` is given: it sounds well from 0.5 to 2, so that others are made of several."""
    parts = list[float]()
    while tempo > 2.0:
        parts.append(2.0)
        tempo /= 2.0
    while tempo < 0.5:
        parts.append(0.5)
        tempo /= 0.5
    return [*parts, tempo]


# -- encoding ----------------------------------------------------------------------------------------------------------


class _Sink:
    """Where a container is written that nobody can go back in."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class _Encoded:
    """A format with a codec. Streamed it is written so that it can be played from its beginning on."""

    def __init__(self, writing: Writing) -> None:
        format = FORMATS[writing.format]
        self._rate = writing.rate
        self._whole = io.BytesIO() if writing.whole else None
        self._sink = _Sink()
        options = {} if writing.whole else {"flush_packets": "1"}
        if format.container == "mp3" and not writing.whole:
            # Its first frame would say how long all of it is.
            options["write_xing"] = "0"
        self._output = av.open(self._whole or self._sink, "w", format=format.container, options=options)
        stream: Any = self._output.add_stream(format.codec, rate=writing.rate)
        stream.layout = "mono"
        if format.bits:
            stream.bit_rate = format.bits
        self._stream = stream
        self._at = 0

    def encode(self, samples: Any) -> bytes:
        if len(samples):
            self._output.mux(self._stream.encode(_frame(samples, self._rate, "s16", self._at)))
            self._at += len(samples)
        return self._sink.take()

    def finish(self) -> bytes:
        self._output.mux(self._stream.encode(None))
        self._output.close()
        return self._sink.take() if self._whole is None else self._whole.getvalue()


class _Plain:
    """Samples as they are, behind a WAV header where that is the format."""

    def __init__(self, writing: Writing) -> None:
        self._rate = writing.rate
        self._wav = writing.format == "wav"
        self._held: list[bytes] | None = [] if writing.whole else None
        self._begun = False

    def encode(self, samples: Any) -> bytes:
        data: bytes = samples.tobytes()
        if self._held is not None:
            self._held.append(data)
            return b""
        if self._wav and not self._begun:
            data = wav_header(self._rate, None) + data
        self._begun = True
        return data

    def finish(self) -> bytes:
        if self._held is None:
            return b"" if self._begun or not self._wav else wav_header(self._rate, 0)
        data = b"".join(self._held)
        return wav_header(self._rate, len(data)) + data if self._wav else data


def _encoder(writing: Writing) -> _Encoded | _Plain:
    return _Encoded(writing) if FORMATS[writing.format].codec else _Plain(writing)
