"""Hostile and odd media: each analysis ends with a result or a plain reason, in bounded memory, and leaves nothing."""

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from PIL import Image

from media.analysis.keyframe_pictures import video_keyframes
from media.measurement.media_file import probe
from tests.support.expressions import lab
from tests.support.films import film, shot
from tests.support.media import left_behind
from tests.support.media_files import image, picture, voice, wav
from tests.support.service import World

PATIENCE = 170.0
MEBIBYTE = 1024 * 1024
POOL_BYTES = 1024 * MEBIBYTE
# Where the matrix of a track stands behind the name of its header (ISO/IEC 14496-12, 8.3.2).
MATRIX_AT = 44
QUARTER_TURN = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)


def one_frame(folder: Path) -> bytes:
    return film(folder / "one.mp4", shot(1, 1)).read_bytes()


def one_pixel(folder: Path) -> bytes:
    return image("PNG", 1, 1)


def ten_bits(folder: Path) -> bytes:
    return film(folder / "ten.mkv", shot(1, 20), codec="libx265", pixels="yuv420p10le").read_bytes()


def uneven(folder: Path) -> bytes:
    """A frame every 40 ms, and then every 200 ms."""
    with av.open(str(folder / "uneven.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate([*shot(1, 25), *shot(2, 25)]):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number * 40 + max(0, number - 25) * 160, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return (folder / "uneven.mkv").read_bytes()


def rotated(folder: Path) -> bytes:
    data = bytearray(film(folder / "turned.mp4", shot(1, 10)).read_bytes())
    at = data.index(b"tkhd") + MATRIX_AT
    data[at : at + len(QUARTER_TURN)] = QUARTER_TURN
    return bytes(data)


def eight_hours(folder: Path) -> bytes:
    """A frame a minute."""
    with av.open(str(folder / "long.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1, 60))
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        frame = av.VideoFrame.from_image(picture(160, 90))  # type: ignore[no-untyped-call]
        for number in range(8 * 60):
            frame.pts, frame.time_base = number, Fraction(60, 1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return (folder / "long.mkv").read_bytes()


def huge_picture(folder: Path) -> bytes:
    """A PNG of some hundred bytes whose header says 50,000 by 50,000."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animated(folder: Path) -> bytes:
    packed = io.BytesIO()
    frames = [picture(64, 48, colour) for colour in ("red", "green", "blue")]
    frames[0].save(packed, "GIF", save_all=True, append_images=frames[1:])
    return packed.getvalue()


def long_and_thin(folder: Path) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (20_000, 3), "green").save(packed, "PNG")
    return packed.getvalue()


def truncated(folder: Path) -> bytes:
    data = film(folder / "cut.mp4", shot(1, 50)).read_bytes()
    return data[: len(data) // 2]


def broken_off(folder: Path) -> bytes:
    """A container that can be read up to where it ends."""
    data = film(folder / "off.mkv", [*shot(1, 50), *shot(2, 50)]).read_bytes()
    return data[: len(data) * 2 // 3]


def named_wrongly(folder: Path) -> bytes:
    return b"This is a text, whatever its name says.\n" * 100


def silence(folder: Path) -> bytes:
    return wav(np.zeros(32_000, np.int16))


def a_moment(folder: Path) -> bytes:
    return wav(voice(0.05))


Odd = Callable[[Path], bytes]
# What comes of each: a reason, or what is told of it.
ODD: dict[Odd, str | dict[str, Any]] = {
    one_frame: {"frames": 1, "has_audio": False},
    one_pixel: {"width": 1, "height": 1},
    ten_bits: {"frames": 20},
    uneven: {"frames": 50, "variable_frame_rate": True},
    rotated: {"frames": 10},
    eight_hours: "media_too_long",
    huge_picture: "image_too_large",
    animated: {"kind": "image"},
    long_and_thin: {"width": 20_000},
    truncated: "media_unreadable",
    broken_off: {"kind": "video"},
    named_wrongly: "unsupported_media_type",
    silence: {"seconds": 2.0},
    a_moment: {"kind": "audio"},
}


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[list[int]]:
    """The most memory that the worker processes of a service had together, in bytes."""
    most = [0]

    async def watch() -> None:
        while True:
            most[0] = max(most[0], _resident(pid))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(watch())
    try:
        yield most
    finally:
        task.cancel()


def _resident(pid: int) -> int:
    total = 0
    for process in psutil.Process(pid).children(recursive=True):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


async def test_odd_media_end_with_a_result_or_a_reason(media_world: World, sandbox_url: str, tmp_path: Path) -> None:
    async with lab(media_world, sandbox_url) as at, watched(at.media.process.pid) as most:
        begun = {
            make: await at.owner.submit("analysis", asset_id=await at.asset(await asyncio.to_thread(make, tmp_path)))
            for make in ODD
        }
        for make, expected in ODD.items():
            job = await at.owner.ended(begun[make], PATIENCE)
            if isinstance(expected, str):
                assert (job["state"], job["error"]["code"]) == ("failed", expected), (make.__name__, job)
            else:
                assert job["state"] == "completed", (make.__name__, job["error"])
                told = job["result"]["metadata"]
                assert {name: told[name] for name in expected} == expected, (make.__name__, told)
        assert most[0] < POOL_BYTES, f"{most[0] // MEBIBYTE} MiB"
        assert left_behind(media_world) == []


def test_pictures_stand_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned"
    path.write_bytes(rotated(tmp_path))
    [picture_of] = video_keyframes(path, probe(path, 60), tmp_path, [0.2])
    assert (picture_of.width, picture_of.height) == (180, 320)


async def test_what_applies_to_no_such_file_is_said(media_world: World, sandbox_url: str) -> None:
    async with lab(media_world, sandbox_url) as at:
        job = await at.owner.ended(
            await at.owner.submit("analysis", asset_id=await at.asset(image()), steps=["music"]), PATIENCE
        )
    assert (job["state"], job["error"]["code"]) == ("failed", "nothing_to_analyse")
