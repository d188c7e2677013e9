"""Clips that play: coloured bars on the move, H.264 in MP4, as long and large as was asked for."""

import functools
import hashlib
import io
from typing import Any

# A stand-in need not burn the processor: whoever looks sees it move.
FPS = 12
BARS = 8


@functools.lru_cache(maxsize=32)
def clip(width: int, height: int, seconds: float, seed: str) -> bytes:
    """The bytes of an MP4 file."""
    import av

    file = io.BytesIO()
    luma = [40 + 180 * digit // 255 for digit in hashlib.sha256(seed.encode()).digest()[:BARS]]
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "35", "threads": "1"}
        for number in range(max(1, round(seconds * FPS))):
            for packet in stream.encode(_picture(width, height, luma, number)):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return file.getvalue()


def _picture(width: int, height: int, luma: list[int], number: int) -> Any:
    import av

    picture = av.VideoFrame(width, height, "yuv420p")
    for index, plane in enumerate(picture.planes):
        step = max(1, plane.line_size // BARS)
        shift = number if index == 0 else 0
        row = bytes(luma[((at + shift * 4) // step) % BARS] if index == 0 else 128 for at in range(plane.line_size))
        plane.update((row * plane.height)[: plane.buffer_size])
    return picture
