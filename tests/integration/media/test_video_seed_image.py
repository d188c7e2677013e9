"""Videos that begin with a picture: an asset of the organisation, or one at an address that may be called."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import pytest
from aiohttp import web
from PIL import Image

from tests.support.media import TINY, Owner, left_behind, media_on, owner_of
from tests.support.service import World

RED = (220, 30, 30)


def picture(width: int = 64, height: int = 48, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), RED).save(file, kind)
    return file.getvalue()


@asynccontextmanager
async def pictures() -> AsyncIterator[str]:
    """A web server with pictures, and what is none."""
    served = {
        "/red.png": picture(),
        "/text.png": b"not a picture at all",
        "/half.png": picture()[:60],
        # 900 megapixels in a kilobyte or so.
        "/bomb.png": bomb(),
    }

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/large.png":
            return web.Response(body=b"x" * (11 * 1024 * 1024))
        return web.Response(body=served[request.path], content_type="image/png")

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


async def made(owner: Owner, image: str) -> dict[str, Any]:
    return await owner.ended(await owner.submit(**{**TINY, "prompt": "look", "seed_image": image}))


def first_colour(data: Path, asset_id: str) -> tuple[int, int, int]:
    [path] = [each for each in data.rglob("*") if each.name == asset_id]
    with av.open(str(path)) as clip:
        frame = next(clip.decode(video=0))
    red, green, blue = frame.to_ndarray(format="rgb24")[2, 2].tolist()
    return red, green, blue


async def test_a_clip_begins_with_the_picture(media_world: World) -> None:
    async with pictures() as url, owner_of(media_world) as owner:
        settings = {"SONANT_MEDIA_NETWORKS": "127.0.0.1/32"}
        async with media_on(media_world, settings):
            job = await made(owner, f"{url}/red.png")
            assert job["state"] == "completed", job
            red, green, _ = first_colour(media_world.output / "data", job["result"]["asset_id"])
            assert red > 150 > 100 > green
            for name, code in (
                ("text.png", "invalid_seed_image"),
                ("half.png", "invalid_seed_image"),
                ("bomb.png", "invalid_seed_image"),
                ("large.png", "response_too_large"),
            ):
                job = await made(owner, f"{url}/{name}")
                assert (job["state"], job["error"]["code"]) == ("failed", code), job
            job = await made(owner, "ast_" + "0" * 32)
            assert (job["state"], job["error"]["code"]) == ("failed", "asset_not_found")
            assert left_behind(media_world) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]"])
async def test_no_address_of_this_machine_is_called(owner: Owner, host: str) -> None:
    job = await made(owner, f"http://{host}:8080/red.png")
    assert (job["state"], job["error"]["code"]) == ("failed", "url_not_allowed"), job
