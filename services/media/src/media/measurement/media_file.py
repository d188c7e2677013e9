"""Opening media of strangers: by the one demuxer that their first bytes ask for, with bounds on what they unpack to.

Demuxers that name other files (playlists, concatenations, image sequences) are never among them: through one, a file
could have any other of this machine read, or any address asked. Runs in worker processes: it imports heavy packages.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from PIL import Image

from common.storage.content_type import content_type
from media.measurement.findings import MediaFacts
from media.measurement.media_error import MediaError, too_long, unreadable

DEMUXERS = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mp4": "mov",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "audio/amr": "amr",
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/3gpp": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/ogg": "ogg",
    "video/avi": "avi",
    "video/mpeg": "mpeg",
    "video/x-flv": "flv",
}
# Pillow's names; TIFF and others with long histories of surprises are not among them.
IMAGES = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/avif": "AVIF",
}
# A frame of this many pixels takes 150 MB as RGB.
MAX_PIXELS = 50_000_000
# What the file leads to by itself: nothing but itself.
OPTIONS = {"protocol_whitelist": "file", "analyzeduration": "10000000", "probesize": "10000000"}
MAX_STREAMS = 64
SNIFFED = 8192
# What the codec libraries say about broken files would fill the log.
av.logging.set_level(av.logging.PANIC)


def probe(path: Path, max_seconds: float) -> MediaFacts:
    """What the file is; raises MediaError where it is nothing that can be measured."""
    with path.open("rb") as file:
        found = content_type(file.read(SNIFFED))
    if found in IMAGES:
        return _image_facts(path, found)
    if found not in DEMUXERS:
        message = f"Neither audio, nor video, nor an image that can be measured: it looks like {found}."
        raise MediaError("unsupported_media_type", message)
    with opened(path, found) as container:
        facts = _facts(container, found)
    if facts.seconds is not None and facts.seconds > max_seconds:
        raise too_long(max_seconds)
    return facts


@contextlib.contextmanager
def opened(path: Path, found: str) -> Iterator[InputContainer]:
    """The container of a file of this content type. Raises MediaError, also for what the codecs raise inside."""
    try:
        with av.open(str(path), mode="r", format=DEMUXERS[found], options=OPTIONS) as container:
            if len(container.streams) > MAX_STREAMS:
                raise unreadable("it has too many streams")
            yield container
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise unreadable(type(error).__name__) from None


def opened_image(path: Path, found: str) -> Image.Image:
    """An image, as RGB. Raises MediaError."""
    try:
        with Image.open(path, formats=[IMAGES[found]]) as image:
            _check_pixels(*image.size)
            return image.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels() from None
    except (OSError, SyntaxError, ValueError) as error:
        raise unreadable(type(error).__name__) from None


def _image_facts(path: Path, found: str) -> MediaFacts:
    width, height = opened_image(path, found).size
    return MediaFacts("image", found, 0.0, has_audio=False, width=width, height=height)


def _facts(container: InputContainer, found: str) -> MediaFacts:
    # A cover picture is a video stream of one frame, and no video.
    videos = [stream for stream in container.streams.video if "attached_pic" not in str(stream.disposition.name or "")]
    seconds = None if container.duration is None else max(0.0, container.duration / av.time_base)
    has_audio = bool(container.streams.audio)
    if not videos:
        if not has_audio:
            raise unreadable("it has neither sound nor pictures")
        return MediaFacts("audio", found, seconds, has_audio=True)
    video = videos[0]
    _check_pixels(video.width, video.height)
    rate = float(video.average_rate or video.guessed_rate or 0)
    return MediaFacts("video", found, seconds, has_audio, video.width, video.height, rate)


def _check_pixels(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise unreadable("its pictures have no size")
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()


def _too_many_pixels() -> MediaError:
    return MediaError("image_too_large", f"A picture has at most {MAX_PIXELS} pixels.")
