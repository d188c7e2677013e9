"""The picture that a clip begins with: an asset of the organisation, or whatever is at an address."""

import asyncio
import base64
from pathlib import Path
from typing import Any

from common.events.video import VideoInput
from common.failures import Refused
from common.jobs.work import Work

MAX_IMAGE_BYTES = 10 * 1024 * 1024
ASSET_PREFIX = "ast_"


async def seed_image(work: Work[VideoInput, Any]) -> Path | None:
    """The picture as a JPEG in the folder of the job; None where none is wanted. Raises Refused, and ProviderDown."""
    wanted = work.input.seed_image
    if wanted is None:
        return None
    # Here: what decodes pictures is loaded where it is used.
    from media.video.clip import as_jpeg

    folder = await work.folder()
    raw, path = folder / "seed", folder / "seed.jpg"
    if wanted.startswith(ASSET_PREFIX):
        asset = await work.deps.assets.get(work.job.org_id, wanted)
        if asset.size > MAX_IMAGE_BYTES:
            raise Refused(413, f"The seed image is larger than {MAX_IMAGE_BYTES} bytes.", "seed_image_too_large")
        await work.deps.assets.copy_to_file(asset, raw)
    else:
        await work.deps.video.images.fetch(wanted, raw)
    await work.brief(as_jpeg, str(raw), str(path))
    return path


async def data_uri(path: Path) -> str:
    """A picture as providers take it inside a request."""
    body = await asyncio.to_thread(path.read_bytes)
    return "data:image/jpeg;base64," + base64.b64encode(body).decode()
