"""Mixed jobs over HTTP while parts of the system die, and what must be true of them afterwards."""

import asyncio
import functools
import hashlib
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deploy.kafka.broker import Broker
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

# The key of media on a sandbox.
ACCOUNT = "sandbox"
ENDED = ("completed", "failed", "cancelled")
# Whatever dies is back by then.
PATIENCE_SECONDS = 90.0
PAUSE = 0.2
TINY = {"duration": 0.5, "width": 160, "height": 128}
# Engines and services that may die, as `sonant status` names them.
PARTS = ("media", "postgres", "valkey", "sandbox")
# And a broker beside them.
KAFKA = "kafka"


def bodies(count: int, dice: random.Random) -> list[dict[str, Any]]:
    """Requests of every sort: by the provider, rendered here, failing, slow; each prompt is of one job alone."""
    found = []
    for number in range(count):
        words = f"job {number} {uuid.uuid4().hex}"
        made = dice.choice(("provider", "provider", "provider", "local", "fails", "refused", "lost"))
        prompt = {
            "fails": f"sandbox:fail-timeoutProvider {words}",
            "refused": f"sandbox:fail-contentModeration {words}",
            "lost": f"sandbox:asset-garbage {words}",
            "provider": f"sandbox:seconds-{dice.choice((0, 1, 2, 4))} {words}",
        }.get(made, words)
        if made == "local":
            found.append({"prompt": prompt, "model": "local", "duration": 1.0, "width": 160, "height": 96})
        else:
            found.append({"prompt": prompt, "model": "pixverse:1@1", "duration": 5, "resolution": "360p"})
    return found


@dataclass
class MediaLoad:
    """A client that submits jobs, and does not rest before each is accepted."""

    sonant: Sonant
    headers: dict[str, str]
    accepted: list[str] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    path: str = "/v1/media/video"

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.sonant.url, headers=self.headers, timeout=30.0)

    async def submit(self, wanted: Sequence[dict[str, Any]], seconds: float) -> None:
        """All of them, spread over so many seconds, some ended right away."""
        async with self.client() as client:
            await asyncio.gather(
                *(self._submit(client, body, number * seconds / len(wanted)) for number, body in enumerate(wanted))
            )

    async def _submit(self, client: httpx.AsyncClient, body: dict[str, Any], after: float) -> None:
        await asyncio.sleep(after)
        answer = await self.call(client, "POST", self.path, json=body)
        assert answer.status_code == 202, answer.text
        self.accepted.append(answer.json()["id"])
        if len(self.accepted) % 10 == 0:
            await self.call(client, "POST", f"/v1/jobs/{self.accepted[-1]}/cancel")

    async def call(self, client: httpx.AsyncClient, method: str, path: str, **fields: Any) -> httpx.Response:
        """An answer that is no sign of something being away; the same request, by its idempotency key, until then."""
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        last: list[httpx.Response] = []

        async def answered() -> bool:
            try:
                last[:] = [await client.request(method, path, headers=headers, **fields)]
            except httpx.TransportError:
                return False
            busy = last[0].status_code == 409 and "in_use" in last[0].text
            if last[0].status_code in (429, 500, 502, 503, 504) or busy:
                self.refused[last[0].status_code] += 1
                return False
            return True

        await eventually(answered, timeout=PATIENCE_SECONDS, interval=PAUSE)
        return last[0]

    async def all_ended(self, timeout: float) -> list[dict[str, Any]]:
        """Every accepted job, once it has ended."""
        jobs: dict[str, dict[str, Any]] = {}
        async with self.client() as client:

            async def check() -> bool:
                for job_id in set(self.accepted) - set(jobs):
                    answer = await self.call(client, "GET", f"/v1/jobs/{job_id}")
                    assert answer.status_code == 200, answer.text
                    if answer.json()["state"] in ENDED:
                        jobs[job_id] = answer.json()
                return len(jobs) == len(set(self.accepted))

            await eventually(check, timeout=timeout, interval=0.5)
        return list(jobs.values())

    async def check(self, jobs: Sequence[dict[str, Any]], sandbox_url: str) -> Counter[str]:
        """What must be true: reasons, whole assets, one charge a job at most, nothing left behind. How they ended."""
        async with self.client() as client:
            for job in jobs:
                assert job["state"] != "failed" or job["error"]["code"], job
                if job["state"] == "completed":
                    await self.check_result(client, job["result"])
        prompts = {job["input"]["prompt"] for job in jobs}
        assert len(prompts) == len(jobs)
        async with httpx.AsyncClient(timeout=30.0) as client:
            totals = (await client.get(f"{sandbox_url}/sandbox/runware/{ACCOUNT}")).json()
        charged: Counter[str] = Counter()
        for uuid_, times in totals["charges"].items():
            charged[totals["prompts"][uuid_]] += times
        assert not [prompt for prompt, times in charged.items() if times > 1], charged
        await eventually(lambda: not temporary(self.sonant.data_dir), timeout=30)
        return Counter(job["state"] for job in jobs)

    async def check_result(self, client: httpx.AsyncClient, result: dict[str, Any]) -> None:
        """What was made is there as a whole."""
        answer = await self.call(client, "GET", result["url"])
        assert answer.status_code == 200, answer.text
        assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (result["size"], result["sha256"])


def temporary(data_dir: Path) -> list[str]:
    """What was left of work that is over: files in scratch folders, and halves of objects."""
    places = [*data_dir.glob("*-scratch"), data_dir / "objects"]
    files = [path for place in places if place.exists() for path in place.rglob("*") if path.is_file()]
    return [str(path) for path in files if "-scratch" in str(path) or "#" in path.name or path.suffix == ".part"]


async def killing(
    sonant: Sonant, parts: Sequence[str], seconds: float, dice: random.Random, broker: Broker | None = None
) -> None:
    """Kill each of these processes at a random moment within so many seconds, and wait until it is back.

    `KAFKA` is the broker, which is started again here.
    """
    for part in parts:
        await asyncio.sleep(dice.uniform(0.2, 1.0) * seconds / len(parts))
        if part == KAFKA and broker is not None:
            broker.kill()
            broker.start()
            await broker.ready()
            continue
        # One that ended by itself, since another was killed, is not there for a moment.
        await eventually(functools.partial(_back, sonant, part, 0), timeout=PATIENCE_SECONDS)
        killed = sonant.kill(part)
        await eventually(functools.partial(_back, sonant, part, killed), timeout=PATIENCE_SECONDS)


def _back(sonant: Sonant, part: str, killed: int) -> bool:
    try:
        return sonant.pid(part) not in (0, killed)
    except (KeyError, TypeError, ValueError):
        return False


def sandbox_of(sonant: Sonant) -> str:
    """Where the sandbox is that `sonant up` started."""
    url: str = sonant.run()["processes"]["sandbox"]["ready_url"]
    return url.removesuffix("/healthz")
