"""What the bench of resources works on: an organisation on a running system, its key, and its active set."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.bench.interrupt import Caller
from tests.bench.load import http_request
from tests.bench.system import BenchError, Target, engine_urls, ops_url

PROJECT = "project-bench"
USER = "user-bench"
ACTIVE = f"/v1/active?projectId={PROJECT}"
CONFIGS = f"/api/hume/configs?active=true&projectId={PROJECT}"
# Few enough to be made in a moment, and enough that a set long gone is told from the one before.
TEXTS = 8
PARAMETERS = '{"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}'


def said(switch: int) -> str:
    """The word with which the upstream answers under the set of this switch."""
    return f"set-{switch % TEXTS}"


@dataclass
class Site:
    """A config, a prompt in `TEXTS` versions and two tools of one organisation, and the set that pins them."""

    target: Target
    data_dir: Path
    organization: str
    key: str
    pins: dict[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.target.url).netloc

    @property
    def redis_url(self) -> str:
        return engine_urls(self.data_dir)["redis"]

    def ops(self, service: str) -> str:
        return ops_url(self.data_dir, service)

    def reading(self, path: str) -> bytes:
        """The bytes of a GET for the user."""
        return http_request("GET", self.host, path, self.key, x_user_id=USER)

    def switching(self, switch: int) -> bytes:
        """The bytes of the switch with this number."""
        body = {**self.pins, "promptVersion": switch % TEXTS}
        return http_request("PUT", self.host, ACTIVE, self.key, body, x_user_id=USER)


async def new_site(target: Target, data_dir: Path, organization: str) -> Site:
    """An organisation with a key that may read, switch and chat; raises BenchError where there is none to be had."""
    async with Caller.open(target.url) as caller:
        wanted = {"name": "bench", "organization": organization, "scopes": ["resources", "chat"]}
        host = urlsplit(target.url).netloc
        made = await told(caller, http_request("POST", host, "/v1/admin/keys", target.key, wanted))
    return Site(target, data_dir, organization, made["key"])


async def prepare(target: Target, data_dir: Path) -> Site:
    """A new organisation with what is to be pinned, and a first active set; raises BenchError where any is refused."""
    site = await new_site(target, data_dir, f"bench-{uuid.uuid4().hex[:12]}")
    async with Caller.open(target.url) as caller:
        await _fill(site, caller)
    return site


async def _fill(site: Site, caller: Caller) -> None:
    prompt = await _create(site, caller, "prompt", text=f"say:{said(0)}")
    for version in range(1, TEXTS):
        body = {"id": prompt, "text": f"say:{said(version)}"}
        await told(caller, http_request("PUT", site.host, "/api/hume/prompts", site.key, body, x_user_id=USER))
    config = await _create(site, caller, "config", evi_version="3", prompt={"id": prompt, "version": 0})
    tools = [await _create(site, caller, "tool", parameters=PARAMETERS, description="Tells it.") for _ in range(2)]
    site.pins = {"configId": config, "configVersion": 0, "promptId": prompt}
    site.pins["tools"] = [{"toolId": tool, "toolVersion": 0} for tool in tools]
    await told(caller, site.switching(0))


async def _create(site: Site, caller: Caller, kind: str, **content: Any) -> str:
    body = {"name": f"{kind}_{uuid.uuid4().hex[:12]}", **content}
    made = await told(caller, http_request("POST", site.host, f"/api/hume/{kind}s", site.key, body, x_user_id=USER))
    return str(made[kind]["id"])


async def told(caller: Caller, request: bytes) -> Mapping[str, Any]:
    """The answer to a request that must succeed; raises BenchError where it does not."""
    head, body = await caller.send(request)
    if not head.startswith(b"HTTP/1.1 20"):
        line = request.split(b"\r\n", 1)[0].decode()
        raise BenchError(f"{line}: {head[9:12].decode()} {body[:300].decode(errors='replace')}")
    answer: dict[str, Any] = orjson.loads(body)
    return answer
