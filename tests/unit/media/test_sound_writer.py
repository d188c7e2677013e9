"""Pieces of sound are joined without a click, at one rate and loudness, and every format plays as long as they do."""

import io
import wave
from typing import Any

import av
import numpy as np
import pytest

from media.adapters.sound_writer import (
    MAX_WRITERS,
    Joiner,
    Piece,
    SoundWriter,
    WriterGone,
    Writing,
    begin,
    factors,
    feed,
    finish,
    resampled,
    stretched,
)
from media.audio_formats import FORMATS, UNKNOWN_LENGTH

RATE = 24_000
LOUD = 0.5


def sine(seconds: float, rate: int = RATE, *, frequency: float = 440.0, loud: float = LOUD, phase: float = 0.7) -> Any:
    return (loud * np.sin(phase + 2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def samples(sound: Any) -> bytes:
    data: bytes = (sound * 32_767).astype("<i2").tobytes()
    return data


def floats(data: bytes) -> Any:
    return np.frombuffer(data, "<i2").astype(np.float64) / 32_767


def sharpest(sound: Any) -> float:
    """The largest second difference: a jump makes it many times that of the tone itself."""
    return float(np.max(np.abs(np.diff(sound, 2))))


def written(writing: Writing, *pieces: Piece) -> bytes:
    writer = SoundWriter(writing)
    return b"".join([*(writer.feed(piece).data for piece in pieces), writer.finish().data])


def test_joins_of_a_sine_have_no_click() -> None:
    # Cut at its loudest, and begun anew at another phase: a plain splice would jump by the whole loudness.
    pieces = [Piece(samples(sine(0.503, 48_000)), 48_000, "a"), Piece(samples(sine(0.4, phase=2.2)), RATE, "a")] * 3
    sound = floats(written(Writing("pcm", RATE), *pieces))
    tone = LOUD * (2 * np.pi * 440 / RATE) ** 2
    assert sharpest(sound) < 1.5 * tone
    # The measure sees a click where there is one.
    splice = np.concatenate([sine(0.503), sine(0.4, phase=2.2)])
    assert sharpest(splice) > 5 * tone


def test_loudness_stays_as_it_was() -> None:
    quiet, loud = sine(0.5, loud=0.1), sine(0.5, loud=0.6)
    sound = floats(written(Writing("pcm", RATE), Piece(samples(quiet), RATE, "a"), Piece(samples(loud), RATE, "a")))
    assert np.max(np.abs(sound[: RATE // 2])) == pytest.approx(0.1, abs=0.005)
    assert np.max(np.abs(sound[-RATE // 4 :])) == pytest.approx(0.6, abs=0.01)


def test_another_providers_voice_is_brought_to_the_loudness_before_it() -> None:
    first, other = sine(0.5, loud=0.4), sine(0.5, loud=0.25)
    joiner = Joiner(RATE)
    joiner.add(first, 0.0, "hume")
    assert np.max(np.abs(joiner.add(other, 0.0, "openai"))) == pytest.approx(0.4, abs=0.02)
    # No further than it can go, and never beyond the full scale.
    assert np.max(np.abs(Joiner(RATE).add(sine(0.2, loud=0.9), 0.0, "a"))) <= 0.91
    joiner = Joiner(RATE)
    joiner.add(sine(0.5, loud=0.9), 0.0, "hume")
    assert np.max(np.abs(joiner.add(sine(0.5, loud=0.05), 0.0, "openai"))) == pytest.approx(0.1, abs=0.01)


def test_a_pause_counts_the_quiet_that_is_there() -> None:
    quiet = np.zeros(RATE // 10, dtype=np.float32)
    joiner = Joiner(RATE)
    joiner.add(np.concatenate([sine(0.2), quiet]), 0.25, "a")
    second = joiner.add(np.concatenate([quiet, sine(0.2)]), 0.0, "a")
    # A tenth of a second at both ends: a twentieth is missing.
    assert (len(second) - RATE * 0.3) / RATE == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pcm"])
def test_every_format_plays_as_long_as_its_pieces(name: str, whole: bool) -> None:
    format = FORMATS[name]
    pieces = [Piece(samples(sine(0.8, 48_000)), 48_000, "a"), Piece(samples(sine(0.7)), RATE, "a")]
    data = written(Writing(name, format.rate, whole), *pieces)
    with av.open(io.BytesIO(data), "r") as container:
        [stream] = container.streams.audio
        heard = np.concatenate([frame.to_ndarray().reshape(-1)[: frame.samples] for frame in container.decode(stream)])
        assert stream.rate == format.rate
    # Encoders work in frames, the last of which may reach beyond the end.
    assert len(heard) / format.rate == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("rate", sorted(FORMATS["wav"].rates))
def test_a_wav_says_what_it_is(rate: int) -> None:
    pieces = [Piece(samples(sine(0.5)), RATE, "a")]
    with wave.open(io.BytesIO(written(Writing("wav", rate, True), *pieces))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        assert file.getnframes() / rate == pytest.approx(0.5, abs=0.01)
    streamed = written(Writing("wav", rate), *pieces)
    assert streamed[:4] == b"RIFF"
    assert int.from_bytes(streamed[4:8], "little") == int.from_bytes(streamed[40:44], "little") == UNKNOWN_LENGTH


@pytest.mark.parametrize("tempo", [0.25, 0.4, 0.8, 1.3, 2.5, 4.0])
def test_another_tempo_keeps_the_pitch(tempo: float) -> None:
    sound = stretched(sine(2.0), RATE, tempo)
    assert len(sound) / RATE == pytest.approx(2.0 / tempo, rel=0.05)
    middle = sound[len(sound) // 4 : len(sound) * 3 // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * RATE / len(middle) == pytest.approx(440, abs=8)
    assert np.prod(factors(tempo)) == pytest.approx(tempo)


@pytest.mark.parametrize(("given", "wanted"), [(48_000, 24_000), (24_000, 48_000), (22_050, 8_000), (24_000, 24_000)])
def test_another_rate_is_as_long(given: int, wanted: int) -> None:
    assert len(resampled(sine(1.0, given), given, wanted)) / wanted == pytest.approx(1.0, abs=0.005)


def test_odd_pieces_do_no_harm() -> None:
    assert written(Writing("pcm", RATE)) == b""
    assert written(Writing("wav", RATE))[:4] == b"RIFF"
    tiny = Piece(b"\x01\x00\x02", RATE, "a", 0.0, 4.0)
    assert len(written(Writing("pcm", RATE), tiny, Piece(b"", RATE, "a"), Piece(samples(sine(0.1)), RATE, "a"))) > 4_000
    full = Piece(b"\x00\x80" * 1_000 + b"\xff\x7f" * 1_000, RATE, "a")
    assert np.max(np.abs(floats(written(Writing("pcm", RATE), full)))) <= 1.001


def test_writers_are_kept_apart_and_bounded() -> None:
    begin("first", Writing("pcm", RATE))
    assert feed("first", Piece(samples(sine(0.1)), RATE, "a")).samples == RATE // 10
    assert finish("first").data == b""
    with pytest.raises(WriterGone):
        finish("first")
    for number in range(MAX_WRITERS + 1):
        begin(f"w{number}", Writing("pcm", RATE))
    with pytest.raises(WriterGone):
        feed("w0", Piece(b"", RATE, "a"))
