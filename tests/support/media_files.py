"""Media made for tests: voices of known pitch and pace, clips of known size, and files that are damaged on purpose."""

import io
import wave
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

RATE = 16_000


def voice(
    seconds: float, *, pitch: float = 150.0, syllables: float = 4.0, pauses: tuple[tuple[float, float], ...] = ()
) -> NDArray[np.int16]:
    """A hummed voice: so many syllables a second, at this pitch, silent in the pauses."""
    at = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch * number * at) / number for number in range(1, 8))
    loudness = 0.55 + 0.45 * np.sin(2 * np.pi * syllables * at - np.pi / 2)
    for begin, end in pauses:
        loudness[(at >= begin) & (at < end)] = 0.0
    samples: NDArray[np.int16] = (6000 * tone * loudness).astype(np.int16)
    return samples


def wav(samples: NDArray[np.int16], rate: int = RATE) -> bytes:
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return packed.getvalue()


def packed_audio(samples: NDArray[np.int16], path: Path, codec: str, rate: int = RATE) -> Path:
    """The samples in the container of the path's suffix."""
    with av.open(str(path), "w") as container:
        stream = cast("av.AudioStream", container.add_stream(codec, rate=rate, layout="mono"))
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 0)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.rate = RATE
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    return path


def clip(
    path: Path,
    pictures: list[Image.Image],
    *,
    rate: int = 10,
    samples: NDArray[np.int16] | None = None,
    codec: str = "libx264",
) -> Path:
    """A video of these pictures, with the samples as its sound."""
    with av.open(str(path), "w") as container:
        video = cast("av.VideoStream", container.add_stream(codec, rate=rate))
        video.width, video.height = pictures[0].size
        video.pix_fmt = "yuv420p"
        audio = None
        if samples is not None:
            audio = container.add_stream("aac", rate=RATE, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and samples is not None:
            sound = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            sound.rate = RATE
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE, frame_size=audio.frame_size)
            for each in [*resampler.resample(sound), *resampler.resample(None)]:
                container.mux(audio.encode(each))
            container.mux(audio.encode(None))
    return path


def picture(width: int = 320, height: int = 240, colour: str = "gray") -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def image(kind: str = "JPEG", width: int = 320, height: int = 240) -> bytes:
    packed = io.BytesIO()
    picture(width, height).save(packed, kind)
    return packed.getvalue()
