"""Hume's expression measurement by jobs, as it was until June 2026: begun, polled or called back, read."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson

from common.failures import Refused
from common.providers.policy import CallLimits, Policy
from media.adapters.hume_measurement import read_document
from media.ports import BatchOrder, BatchState

PROVIDER = "hume-batch"
LIMITS = CallLimits(connect_seconds=3.0, first_byte_seconds=60.0, total_seconds=120.0, concurrency=8)
LOOK_SECONDS = 20.0
# Of the newest jobs of the account, in which one of ours is looked for.
LISTED = 100
STATES = {"COMPLETED": "completed", "FAILED": "failed"}
# Ids go into paths: nothing else may.
ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class HumeBatch:
    """The port `BatchMeasurement`. `name` is `sandbox` where the stand-in answers."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, key: str, name: str, policy: Policy) -> None:
        self._session = session
        self._url = f"{url.rstrip('/')}/v0/batch/jobs"
        self._headers = {"X-Hume-Api-Key": key}
        self._policy = policy
        self.name = name

    @property
    def usable(self) -> bool:
        return self._policy.record.usable

    async def start(self, order: BatchOrder) -> str:
        body: dict[str, Any] = {"models": {model: {} for model in order.models}, "notify": False}
        if order.callback_url is not None:
            body["callback_url"] = order.callback_url
        if order.path is None:
            body["urls"] = [order.url]
            send = self._sent(body)
        else:
            send = self._uploaded(body, order)
        answer = await self._policy.once(self._policy.begin(), "start", send)
        return _id(answer)

    def _sent(self, body: dict[str, Any]) -> Callable[[], Awaitable[Any]]:
        async def send() -> Any:
            headers = {**self._headers, "Content-Type": "application/json"}
            async with self._session.post(self._url, data=orjson.dumps(body), headers=headers) as answer:
                return await read_document(answer)

        return send

    def _uploaded(self, body: dict[str, Any], order: BatchOrder) -> Callable[[], Awaitable[Any]]:
        async def send() -> Any:
            if order.path is None:
                raise ValueError("nothing to upload")
            with order.path.open("rb") as file:
                form = aiohttp.FormData()
                form.add_field("file", file, filename=order.reference, content_type="application/octet-stream")
                form.add_field("json", orjson.dumps(body), filename="json", content_type="application/json")
                async with self._session.post(self._url, data=form, headers=self._headers) as answer:
                    return await read_document(answer)

        return send

    async def find(self, reference: str) -> str | None:
        """By the name of its file; a job over a URL alone has none, and is not found."""
        query = {"limit": str(LISTED), "sort_by": "created", "direction": "desc"}
        jobs = await self._read("list", self._url, query)
        for job in jobs if isinstance(jobs, list) else ():
            files = (job.get("request") or {}).get("files") or ()
            if any(file.get("filename") == reference for file in files):
                return _id(job)
        return None

    async def look(self, job_id: str) -> BatchState:
        job = await self._read("details", f"{self._url}/{job_id}")
        state = (job.get("state") or {}) if isinstance(job, dict) else {}
        # A state that is not known is taken for one under way.
        known = STATES.get(str(state.get("status")), "waiting")
        return BatchState(known, str(state.get("message") or ""))  # type: ignore[arg-type]

    async def predictions(self, job_id: str) -> list[dict[str, Any]]:
        found = await self._read("predictions", f"{self._url}/{job_id}/predictions")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    async def _read(self, operation: str, url: str, query: dict[str, str] | None = None) -> Any:
        async def send() -> Any:
            async with self._session.get(url, params=query, headers=self._headers) as answer:
                return await read_document(answer)

        return await self._policy.read(self._policy.begin(LOOK_SECONDS), operation, send)


def _id(answer: Any) -> str:
    id = answer.get("job_id") if isinstance(answer, dict) else None
    if not isinstance(id, str) or not ID.fullmatch(id):
        raise Refused(502, "The provider gave no id for its job.", "provider_refused_us", type="api_error")
    return id
