"""Pictures of a video at even steps of time, and of an image the one that it is. Runs in worker processes."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from common.kernel.worker_main import report
from media.measurement.findings import FrameFile, MediaFacts
from media.measurement.media_error import too_long, unreadable
from media.measurement.media_file import opened, opened_image

MAX_BROKEN = 100
JPEG_QUALITY = 88
# What one picture may have as a JPEG; a larger one is made smaller.
MAX_JPEG_BYTES = 1_500_000
SMALLER = 0.7


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture at `seconds`, shown smaller by the factor `scale` (1 or less)."""

    seconds: float
    scale: float
    image: Image.Image


def pictures(path: Path, facts: MediaFacts, every: float, max_side: int, max_seconds: float) -> Iterator[Picture]:
    """A picture every `every` seconds, each with at most `max_side` pixels a side. Raises MediaError."""
    if facts.kind == "image":
        yield _picture(0.0, opened_image(path, facts.content_type), max_side)
        return
    due = 0.0
    with opened(path, facts.content_type) as container:
        for seconds, frame in _frames(container):
            if seconds > max_seconds:
                raise too_long(max_seconds)
            # Half a frame early is as near as half a frame late.
            if seconds + 0.5 / (facts.frame_rate or 25.0) < due:
                continue
            due += every * max(1, int((seconds - due) // every) + 1)
            report(seconds)
            yield _picture(seconds, _image(frame, max_side), max_side, frame.width)


def frame_files(
    path: Path, facts: MediaFacts, folder: Path, *, every: float, max_side: int, max_seconds: float
) -> list[FrameFile]:
    """The pictures as JPEG files in a folder. Raises MediaError."""
    files = []
    for number, picture in enumerate(pictures(path, facts, every, max_side, max_seconds)):
        scale, data = _jpeg(picture)
        out = folder / f"frame-{number:06}.jpg"
        out.write_bytes(data)
        files.append(FrameFile(picture.seconds, scale, out, len(data)))
    if not files:
        raise unreadable("none of its pictures could be read")
    return files


def _frames(container: av.container.InputContainer) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames with the seconds at which they are shown, counted from the first; damaged ones are passed over."""
    stream, broken, first = container.streams.video[0], 0, None
    stream.thread_type = "SLICE"
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken += 1
            if broken > MAX_BROKEN:
                return
            continue
        broken = 0
        for frame in frames:
            if frame.pts is None:
                continue
            first = frame.time if first is None else first
            yield max(0.0, frame.time - first), frame


def _image(frame: av.VideoFrame, max_side: int) -> Image.Image:
    """Made smaller by the scaler that also turns its colours, which is the cheapest place."""
    scale = min(1.0, max_side / max(frame.width, frame.height))
    size = {"width": max(1, round(frame.width * scale)), "height": max(1, round(frame.height * scale))}
    image: Image.Image = frame.to_image(**size)  # type: ignore[no-untyped-call]
    return image


def _picture(seconds: float, image: Image.Image, max_side: int, width: int | None = None) -> Picture:
    whole = width or image.width
    image.thumbnail((max_side, max_side))
    return Picture(seconds, image.width / whole, image)


def _jpeg(picture: Picture) -> tuple[float, bytes]:
    """The picture packed, smaller where it takes too many bytes, and its scale then."""
    image, scale = picture.image, picture.scale
    while True:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=JPEG_QUALITY)
        if packed.tell() <= MAX_JPEG_BYTES:
            return scale, packed.getvalue()
        size = (int(image.width * SMALLER), int(image.height * SMALLER))
        scale *= size[0] / image.width
        image = image.resize(size)
