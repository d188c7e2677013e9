"""Active sets as a process finds them in the cache, without the service that switches them on."""

import time
import uuid
from typing import Any

import orjson

from common.clients.resources.entries import Entry, scope_key
from common.storage.resp import open_resp


class Sets:
    """Sets that the service resources has switched on."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url

    async def on(self, config: dict[str, Any], text: str = "Greet.", **facts: Any) -> str:
        """The project that has such a set."""
        project = f"project-{uuid.uuid4().hex[:8]}"
        told: dict[str, Any] = {"config": config, "prompt": {"text": text}, "voice": None, "tools": []}
        known = {"revision": 7, "fresh_until": time.time() + 300, **facts}
        async with open_resp(self._redis_url) as cache:
            entry = Entry(1, current=orjson.dumps(told), **known)
            await cache.execute(*entry.put(scope_key("org-1", project, "")))
        return project

    async def nothing_on(self, project: str, user: str) -> None:
        """A user who has no set of their own there."""
        async with open_resp(self._redis_url) as cache:
            await cache.execute(*Entry(1, time.time() + 300).put(scope_key("org-1", project, user)))
