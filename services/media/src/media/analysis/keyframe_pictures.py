"""Pictures that stand for shots, as JPEG files: decoded where they are needed, and the right way up."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageOps

from common.kernel.worker_main import report
from media.analysis.analysis_findings import Keyframe, Sharpness
from media.measurement.findings import MediaFacts
from media.measurement.media_error import unreadable
from media.measurement.media_file import opened, opened_image

MAX_SIDE, THUMBNAIL_SIDE = 960, 240
JPEG_QUALITY = 86
# Sharpness depends on size: it is measured at this width.
QUALITY_WIDTH = 480
DARK, BRIGHT = 4, 251
# A second that nobody shows a picture at is met by the next one.
NEAR_SECONDS = 0.001
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def video_keyframes(path: Path, facts: MediaFacts, folder: Path, seconds: Sequence[float]) -> list[Keyframe]:
    """The pictures at these seconds, in their order. Raises MediaError where none can be read."""
    found = []
    with opened(path, facts.content_type) as container:
        for number, (at, frame) in enumerate(_at(container, seconds)):
            found.append(_written(_upright(frame), at, number, folder))
            report(number + 1)
    if not found:
        raise unreadable("none of its pictures could be read")
    return found


def image_keyframe(path: Path, facts: MediaFacts, folder: Path) -> list[Keyframe]:
    """An image as the one picture of itself; of an animated one the first. Raises MediaError."""
    return [_written(ImageOps.exif_transpose(opened_image(path, facts.content_type)), 0.0, 0, folder)]


def _at(container: av.container.InputContainer, seconds: Sequence[float]) -> Iterator[tuple[float, av.VideoFrame]]:
    stream = container.streams.video[0]
    # Threads that each take a frame may hang when a file is left early.
    stream.thread_type = "SLICE"
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    for at in seconds:
        container.seek(int(max(0.0, at + start) * av.time_base), backward=True)
        frame = _first_from(container, at + start)
        if frame is not None:
            yield at, frame


def _first_from(container: av.container.InputContainer, at: float) -> av.VideoFrame | None:
    """The frame shown at this second, or the last one there is before it."""
    last = None
    for packet in container.demux(container.streams.video[0]):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            if frame.pts is None:
                continue
            last = frame
            if frame.time >= at - NEAR_SECONDS:
                return last
    return last


def _upright(frame: av.VideoFrame) -> Image.Image:
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    size = {"width": max(1, round(frame.width * scale)), "height": max(1, round(frame.height * scale))}
    image: Image.Image = frame.to_image(**size)  # type: ignore[no-untyped-call]
    image.info["whole"] = max(frame.width, frame.height)
    turn = TURNS.get(frame.rotation % 360)
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info["whole"] = image.info["whole"]
    return turned


def _written(image: Image.Image, seconds: float, number: int, folder: Path) -> Keyframe:
    whole = image.info.get("whole", max(image.size))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    out = folder / f"keyframe-{number:05}.jpg"
    image = image.convert("RGB")
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    size, quality = image.size, _quality(image)
    small = folder / f"thumbnail-{number:05}.jpg"
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    image.save(small, "JPEG", quality=JPEG_QUALITY)
    return Keyframe(number, seconds, out, small, *size, scale=max(size) / whole, quality=quality)


def _quality(image: Image.Image) -> Sharpness:
    width = min(QUALITY_WIDTH, image.width)
    small = image.resize((width, max(1, round(image.height * width / image.width))))
    pixels = np.asarray(small)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    red, green, blue = (round(float(value)) for value in pixels.reshape(-1, 3).mean(axis=0))
    return Sharpness(
        sharpness=round(float(cv2.Laplacian(grey, cv2.CV_64F).var()), 1),
        brightness=round(float(grey.mean()), 1),
        contrast=round(float(grey.std()), 1),
        clipped_dark=round(float((grey <= DARK).mean()), 4),
        clipped_bright=round(float((grey >= BRIGHT).mean()), 4),
        colour=(red, green, blue),
    )
