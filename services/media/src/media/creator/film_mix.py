"""A film of clips, sound and captions, as one MP4. Runs in worker processes."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.events.creations import CaptionLine
from common.failures import Refused
from common.kernel.worker_main import report
from media.creator.captions import as_timed_text
from media.creator.film_wishes import MixMade, MixWish
from media.creator.narration_track import RATE, NarrationTrack, track_of

FPS = 24
FADE_SECONDS = 0.5
MILLISECOND = Fraction(1, 1000)
SOUND_FRAME = 1024
REPORT_FRAMES = 24
# Timed text needs a style, which players replace by their own.
STYLE = b"""[Script Info]\r
ScriptType: v4.00+\r
\r
[V4+ Styles]\r
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, \
Encoding\r
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\r
\r
[Events]\r
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r
"""
Picture = NDArray[np.uint8]


def mix(wish: MixWish, out: Path, folder: Path) -> MixMade:
    """Write the film; each clip plays as long as its scene is spoken, from its beginning again where it is shorter."""
    av.logging.set_level(av.logging.PANIC)
    track = track_of(wish.lines, len(wish.clips), wish.loudness)
    options = {"movflags": "+faststart"}
    with av.open(str(out), "w", format="mp4", options=options) as container:
        video = _video_stream(container, wish)
        sound: Any = container.add_stream("aac", rate=RATE, layout="mono")
        sound.bit_rate = 128_000
        text: Any = container.add_stream("mov_text")
        text.codec_context.subtitle_header = STYLE
        text.time_base = MILLISECOND
        thumbnails = _write_pictures(container, video, wish, track, folder)
        _write_sound(container, sound, track)
        _write_captions(container, text, track.captions)
    return MixMade(round(track.scene_ends[-1], 3), track.loudness, track.captions, thumbnails)


def _video_stream(container: Any, wish: MixWish) -> Any:
    video = container.add_stream("libx264", rate=FPS)
    video.width, video.height, video.pix_fmt = wish.width, wish.height, "yuv420p"
    video.options = {"preset": "veryfast", "crf": "22", "threads": "1", "g": str(FPS * 2)}
    return video


def _write_pictures(container: Any, video: Any, wish: MixWish, track: NarrationTrack, folder: Path) -> list[Path]:
    """Write all pictures; returns one of each scene as a JPEG."""
    total, number, thumbnails = round(track.scene_ends[-1] * FPS), 0, list[Path]()
    for scene, (clip, end) in enumerate(zip(wish.clips, track.scene_ends, strict=True)):
        last = round(end * FPS)
        middle, pictures = (number + last) // 2, _looped(clip, wish)
        while number < last:
            picture = next(pictures)
            if number == middle:
                thumbnails.append(_kept(picture, folder / f"thumbnail-{scene}.jpg"))
            frame = av.VideoFrame.from_ndarray(_dimmed(picture, number, total), format="rgb24")
            container.mux(video.encode(frame))
            number += 1
            if number % REPORT_FRAMES == 0:
                report(number / total)
    container.mux(video.encode(None))
    return thumbnails


def _looped(clip: Path, wish: MixWish) -> Iterator[Picture]:
    """The pictures of a clip at the film's rate and size, again and again. Raises Refused for one without any."""
    while True:
        count = 0
        for picture in _pictures(clip, wish):
            count += 1
            yield picture
        if not count:
            raise Refused(502, "A clip has no pictures.", "unplayable_video", type="api_error")


def _pictures(clip: Path, wish: MixWish) -> Iterator[Picture]:
    with av.open(str(clip), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        shown: Picture | None = None
        at = 0
        for frame in container.decode(stream):
            moment = frame.time if frame.time is not None else at / FPS
            # A picture is shown until the next one is due, whatever the rate of the clip.
            while shown is not None and at / FPS < moment:
                yield shown
                at += 1
            shown = np.asarray(frame.reformat(wish.width, wish.height, "rgb24").to_ndarray(), dtype=np.uint8)
        if shown is not None:
            yield shown


def _dimmed(picture: Picture, number: int, total: int) -> Picture:
    """From black at the beginning, and to black at the end."""
    fade = FADE_SECONDS * FPS
    share = min(1.0, (number + 1) / fade, (total - number) / fade)
    return picture if share >= 1 else np.asarray(picture * share, dtype=np.uint8)


def _kept(picture: Picture, path: Path) -> Path:
    Image.fromarray(picture).save(path, "JPEG", quality=85)
    return path


def _write_sound(container: Any, stream: Any, track: NarrationTrack) -> None:
    for at in range(0, len(track.samples), SOUND_FRAME):
        frame = av.AudioFrame.from_ndarray(track.samples[None, at : at + SOUND_FRAME], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_captions(container: Any, stream: Any, captions: list[CaptionLine]) -> None:
    for line in captions:
        packet: Any = av.Packet(as_timed_text(line.text))
        packet.stream, packet.time_base = stream, MILLISECOND
        packet.pts = packet.dts = round(line.begin * 1000)
        packet.duration = round((line.end - line.begin) * 1000)
        container.mux(packet)
