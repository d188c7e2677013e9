"""Runware over REST: one endpoint that takes arrays of tasks (https://runware.ai/docs)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from common.failures import ProviderDown, Refused
from common.providers.guarded_http import GuardedHttp
from common.providers.policy import CallLimits, Policy, no_answer
from common.providers.provider_registry import ProviderRegistry
from common.providers.retry_after import retry_after
from media.ports import NeverSent, VideoProgress, VideoTask

PROVIDER = "runware"
# Shorter than the lease of a job: nobody else has it while a task is submitted. The provider advises few at once.
LIMITS = CallLimits(connect_seconds=2.0, first_byte_seconds=6.0, total_seconds=8.0, concurrency=4)
FETCH_SECONDS = 240.0
MAX_VIDEO_BYTES = 512 * 1024 * 1024
MAX_ANSWER_BYTES = 1024 * 1024
MAX_QUOTED = 300
# Our account is at fault, which the caller can do nothing about.
ACCOUNT = frozenset({401, 402, 403})
ACCOUNT_CODES = frozenset({"invalidApiKey", "insufficientCredits", "forbidden"})
# Of a task that failed: the provider's own trouble, which passes. Any other code is about what was asked.
PASSING = ("timeout", "server", "provider", "internal", "unavailable", "ratelimit", "capacity", "unknown", "network")
# How a task is called that the provider does not have; its documentation names no code for that.
UNKNOWN = ("notfound", "unknowntask", "invalidtaskuuid", "expired")


class _Refusal(Exception):
    """An answer that is no success, or has errors in it."""

    def __init__(self, status: int, errors: list[dict[str, Any]], wait: float | None) -> None:
        super().__init__(status)
        self.status = status
        self.errors = errors
        self.wait = wait

    @property
    def code(self) -> str:
        return str(self.errors[0].get("code", "")) if self.errors else ""


class Runware:
    """The port `VideoProvider`. `name` is `sandbox` where the stand-in answers."""

    def __init__(
        self, session: aiohttp.ClientSession, files: GuardedHttp, *, url: str, key: str, name: str, policy: Policy
    ) -> None:
        self._session = session
        self._files = files
        self._url = url
        self._key = key
        self._policy = policy
        self.name = name

    @property
    def usable(self) -> bool:
        return self._policy.record.usable

    async def submit(self, task: VideoTask) -> None:
        body = {
            "taskType": "videoInference",
            "taskUUID": task.id,
            "model": task.model,
            "positivePrompt": task.prompt,
            "negativePrompt": task.negative_prompt,
            "duration": int(task.duration) if task.duration.is_integer() else task.duration,
            "width": task.width,
            "height": task.height,
            "fps": task.fps,
            "seed": task.seed,
            "frameImages": None if task.image is None else [{"inputImage": task.image, "frame": "first"}],
            "deliveryMethod": "async",
            "outputType": "URL",
            "outputFormat": "MP4",
            "numberResults": 1,
            "includeCost": True,
            "webhookURL": task.callback_url,
        }
        sent = {name: value for name, value in body.items() if value is not None}
        budget = self._policy.begin()
        await self._policy.once(budget, "videoInference", lambda: self._call(sent))

    async def look(self, task_id: str) -> VideoProgress:
        try:
            item = await self._asked("getResponse", task_id)
        except Refused as refused:
            code = str(refused.details.get("provider_code", ""))
            if not _means(code, UNKNOWN):
                return _failed(refused.message, code)
            # Polling forgets what details may still know: a task whose submission was never acknowledged.
            return await self._details(task_id)
        return _progress(item)

    async def _details(self, task_id: str) -> VideoProgress:
        try:
            item = await self._asked("getTaskDetails", task_id)
        except Refused:
            return VideoProgress("unknown")
        response = item.get("response") or {}
        found = [*(response.get("data") or []), *(response.get("errors") or [])]
        return _progress(found[0]) if found else VideoProgress("processing")

    async def _asked(self, kind: str, task_id: str) -> dict[str, Any]:
        """The part of the answer that is about the task."""
        body = {"taskType": kind, "taskUUID": task_id}
        items = await self._policy.read(self._policy.begin(), kind, lambda: self._call(body))
        return next((item for item in items if item.get("taskUUID") == task_id), {})

    async def _call(self, task: Mapping[str, Any]) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        async with self._session.post(self._url, data=orjson.dumps([task]), headers=headers) as answer:
            raw = await answer.content.read(MAX_ANSWER_BYTES)
            body = _read(raw)
            errors = body.get("errors") or []
            data = body.get("data") or []
            # A partial success has both; a task that ended has its failure among the errors, with its state.
            ended = [each for each in errors if each.get("status") == "error"]
            if answer.status >= 300 or (errors and not data and not ended):
                raise _Refusal(answer.status, errors, retry_after(answer.headers))
            return [*data, *ended]

    async def fetch(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            await self._files.download(url, file, max_bytes=MAX_VIDEO_BYTES, seconds=FETCH_SECONDS)


def _read(raw: bytes) -> dict[str, Any]:
    """Raises ValueError for what is no document of the interface."""
    body = orjson.loads(raw)
    if not isinstance(body, dict):
        raise ValueError("no object")
    for name in ("data", "errors"):
        items = body.get(name) or []
        if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
            raise ValueError(f"{name} is no list of objects")
    return body


def _progress(item: dict[str, Any]) -> VideoProgress:
    """A state that is not known is taken for one under way; a result without its address is not finished."""
    status = item.get("status")
    if status == "error":
        return _failed(str(item.get("message", "")), str(item.get("code", "")))
    url = item.get("videoURL")
    if isinstance(url, str) and url and status in ("success", None):
        cost, seed = item.get("cost"), item.get("seed")
        return VideoProgress(
            "done",
            1.0,
            url,
            float(cost) if isinstance(cost, int | float) and 0 <= cost < 1e6 else 0.0,
            seed if isinstance(seed, int) else None,
        )
    progress = item.get("progress")
    share = min(1.0, max(0.0, progress / 100)) if isinstance(progress, int | float) else None
    return VideoProgress("processing", share)


def _failed(message: str, code: str) -> VideoProgress:
    said = f"{message[:MAX_QUOTED]} ({code})" if code else message[:MAX_QUOTED]
    return VideoProgress("failed", failure=said, lasting=not _means(code, PASSING))


def _means(code: str, words: tuple[str, ...]) -> bool:
    plain = code.lower().replace("_", "")
    return any(word in plain for word in words)


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error means; `details` hold the provider's status and code."""
    if isinstance(error, _Refusal):
        return _verdict(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return NeverSent(no_answer(error).message)
    if isinstance(error, aiohttp.ClientError | OSError | ValueError):
        return no_answer(error)
    return None


def _verdict(refusal: _Refusal) -> Refused | ProviderDown:
    status, code = refusal.status, refusal.code
    said = str(refusal.errors[0].get("message", ""))[:MAX_QUOTED] if refusal.errors else ""
    details = {"provider_status": status, "provider_code": code}
    if status in ACCOUNT or code in ACCOUNT_CODES:
        message = f"The provider does not accept our account: {said or status}."
        return Refused(502, message, "provider_refused_us", type="api_error", details=details)
    # Without errors of its own somebody else answered, such as a proxy.
    if refusal.errors and status < 500 and status not in (408, 425, 429) and not _means(code, PASSING):
        param = refusal.errors[0].get("parameter")
        named = param if isinstance(param, str) else None
        return Refused(400, f"The provider says: {said or code}", "provider_refused", named, details=details)
    return ProviderDown(f"The provider failed with status {status}.", status=status, retry_after=refusal.wait)


def runware_policy(*, configured: bool, registry: ProviderRegistry | None = None) -> Policy:
    """The policy of our account."""
    return Policy(PROVIDER, verdict, configured=configured, limits=LIMITS, registry=registry)


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for the endpoint, which we name ourselves."""
    timeout = aiohttp.ClientTimeout(
        total=LIMITS.total_seconds, sock_connect=LIMITS.connect_seconds, sock_read=LIMITS.first_byte_seconds
    )
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
