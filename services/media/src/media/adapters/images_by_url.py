"""Pictures at addresses that callers name, through the guarded client."""

from pathlib import Path

from common.providers.guarded_http import GuardedHttp

MAX_IMAGE_BYTES = 10 * 1024 * 1024


class ImagesByUrl:
    """The port `Images`."""

    def __init__(self, client: GuardedHttp) -> None:
        self._client = client

    async def fetch(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            await self._client.download(url, file, max_bytes=MAX_IMAGE_BYTES)
