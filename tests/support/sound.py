"""Sound as a player meets it."""

import io

import av


def decoded(audio: bytes | bytearray) -> tuple[str, float]:
    """Codec and length in seconds, as FFmpeg decodes them."""
    with av.open(io.BytesIO(bytes(audio)), "r") as container:
        [stream] = container.streams.audio
        samples = sum(int(frame.samples) for frame in container.decode(stream))
        assert stream.rate is not None
        return stream.codec_context.name, samples / stream.rate


def seconds_of_sound(audio: bytes | bytearray) -> float:
    """How long it plays."""
    return decoded(audio)[1]
