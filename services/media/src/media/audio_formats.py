"""The formats that speech comes in: their types, their rates, and the header of a WAV file."""

import struct
from dataclasses import dataclass
from typing import Final

# Sixteen bits, one channel: what all speech is until it is encoded.
SAMPLE_BYTES: Final = 2
# What a length says that nobody knows yet; players then read to the end.
UNKNOWN_LENGTH: Final = 0xFFFFFFFF
WAV_HEADER_BYTES: Final = 44


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One format: `rates` are those it can have, `rate` the one it has unless another is wanted, in hertz.

    `container` and `codec` are names of FFmpeg; empty where the samples go out as they are. `bits` are those of a
    second.
    """

    name: str
    content_type: str
    extension: str
    rate: int
    rates: frozenset[int]
    container: str = ""
    codec: str = ""
    bits: int = 0


_ANY = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
# OpenAI's `pcm` is 24 kHz, so that is the rate of everything unless another is asked for. Opus has rates of its own.
FORMATS = {
    each.name: each
    for each in (
        AudioFormat("wav", "audio/wav", "wav", 24_000, _ANY),
        AudioFormat("pcm", "audio/pcm", "pcm", 24_000, _ANY),
        AudioFormat(
            "mp3",
            "audio/mpeg",
            "mp3",
            24_000,
            frozenset({16_000, 22_050, 24_000, 32_000, 44_100, 48_000}),
            "mp3",
            "libmp3lame",
            96_000,
        ),
        AudioFormat(
            "opus",
            "audio/ogg",
            "opus",
            48_000,
            frozenset({8_000, 12_000, 16_000, 24_000, 48_000}),
            "ogg",
            "libopus",
            32_000,
        ),
        AudioFormat(
            "aac",
            "audio/aac",
            "aac",
            24_000,
            frozenset({16_000, 22_050, 24_000, 32_000, 44_100, 48_000}),
            "adts",
            "aac",
            64_000,
        ),
        AudioFormat("flac", "audio/flac", "flac", 24_000, _ANY, "flac", "flac"),
    )
}


def wav_header(rate: int, size: int | None) -> bytes:
    """The 44 bytes before `size` bytes of samples; None where that is not known while they are sent.

    Source: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991).
    """
    data = UNKNOWN_LENGTH if size is None else size
    riff = UNKNOWN_LENGTH if size is None else size + WAV_HEADER_BYTES - 8
    bytes_a_second = rate * SAMPLE_BYTES
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        bytes_a_second,
        SAMPLE_BYTES,
        8 * SAMPLE_BYTES,
        b"data",
        data,
    )
