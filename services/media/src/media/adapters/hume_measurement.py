"""Hume's expression measurement by files: the answer is the measurement, and nothing of it is kept there."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from common.failures import ProviderDown, Refused
from common.providers.policy import CallLimits, Policy, no_answer
from common.providers.provider_registry import ProviderRegistry
from common.providers.retry_after import retry_after
from media.ports import NeverSent

PROVIDER = "hume-measurement"
# Ten minutes of sound are 19 MB to send, and to measure before the first byte of an answer.
LIMITS = CallLimits(connect_seconds=3.0, first_byte_seconds=120.0, total_seconds=180.0, concurrency=4)
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_QUOTED = 300
# Our account is at fault, which the caller can do nothing about.
ACCOUNT = frozenset({401, 402, 403})
# What is wrong with what was sent: another try would meet the same.
OURS = frozenset({400, 404, 405, 413, 415, 422})


class ProviderRefusal(Exception):
    """An answer that is no success; `code` and `message` are the provider's."""

    def __init__(self, status: int, code: str, message: str, wait: float | None) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self.wait = wait


class HumeMeasurement:
    """The port `FileMeasurement`. `name` is `sandbox` where the stand-in answers."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, key: str, name: str, policy: Policy) -> None:
        self._session = session
        self._url = url.rstrip("/")
        # Exactly one header may say who we are.
        self._headers = {"X-Hume-Api-Key": key}
        self._policy = policy
        self.name = name

    @property
    def usable(self) -> bool:
        return self._policy.record.usable

    async def audio(self, wav: Path, timer_ms: int) -> dict[str, Any]:
        return await self._measured("audio", {"measurement_timer_ms": timer_ms}, [(wav, "audio/wav")])

    async def images(self, files: Sequence[Path], face_state: str | None) -> dict[str, Any]:
        config: dict[str, Any] = {"face": {"return_face_state": True}}
        if face_state is not None:
            config["face_state"] = face_state
        return await self._measured("video", config, [(path, "image/jpeg") for path in files])

    async def _measured(self, kind: str, config: dict[str, Any], files: Sequence[tuple[Path, str]]) -> dict[str, Any]:
        budget = self._policy.begin()
        return await self._policy.once(budget, kind, lambda: self._call(kind, config, files))

    async def _call(self, kind: str, config: dict[str, Any], files: Sequence[tuple[Path, str]]) -> dict[str, Any]:
        form = aiohttp.FormData()
        form.add_field("config", orjson.dumps(config), content_type="application/json")
        async with AsyncExitStack() as opened:
            for path, content_type in files:
                file = opened.enter_context(path.open("rb"))
                form.add_field("file", file, filename=path.name, content_type=content_type)
            url = f"{self._url}/v1/expression/{kind}/file"
            async with self._session.post(url, data=form, headers=self._headers) as answer:
                return await read_object(answer)


async def read_object(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The document of an answer. Raises ProviderRefusal, and ValueError for what is none."""
    body = await read_document(answer)
    if not isinstance(body, dict):
        raise ValueError("no object")
    return body


async def read_document(answer: aiohttp.ClientResponse) -> Any:
    """Raises ProviderRefusal for an answer that is no success, and ValueError for one that is no JSON."""
    raw = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        raw += chunk
        if len(raw) > MAX_ANSWER_BYTES:
            raise ValueError("too large")
    if answer.status >= 300:
        raise _refusal(answer, bytes(raw))
    return orjson.loads(raw)


def _refusal(answer: aiohttp.ClientResponse, raw: bytes) -> ProviderRefusal:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = {}
    body = body if isinstance(body, dict) else {}
    fault = body.get("fault")
    said = body.get("message") or (fault.get("faultstring") if isinstance(fault, dict) else None)
    wait = retry_after(answer.headers)
    return ProviderRefusal(answer.status, str(body.get("code") or ""), str(said or "")[:MAX_QUOTED], wait)


def verdict(error: Exception) -> Refused | ProviderDown | None:
    """What an error means; `details` hold the provider's status and code."""
    if isinstance(error, ProviderRefusal):
        return _verdict(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return NeverSent(no_answer(error).message)
    if isinstance(error, aiohttp.ClientError | OSError | ValueError):
        return no_answer(error)
    return None


def _verdict(refusal: ProviderRefusal) -> Refused | ProviderDown:
    status, said = refusal.status, refusal.message or refusal.code or refusal.status
    details = {"provider_status": status, "provider_code": refusal.code}
    if status in ACCOUNT:
        message = f"The provider does not accept our account: {said}."
        return Refused(502, message, "provider_refused_us", type="api_error", details=details)
    # Without a code of its own somebody else answered, such as a proxy.
    if status in OURS and refusal.code:
        return Refused(422, f"The provider says: {said}", "provider_refused", details=details)
    return ProviderDown(f"The provider failed with status {status}.", status=status, retry_after=refusal.wait)


def measurement_policy(provider: str, limits: CallLimits, *, configured: bool, registry: ProviderRegistry) -> Policy:
    """The policy of our account."""
    return Policy(provider, verdict, configured=configured, limits=limits, registry=registry)


@asynccontextmanager
async def open_measurement_session(limits: CallLimits) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for an endpoint that we name ourselves."""
    timeout = aiohttp.ClientTimeout(
        total=limits.total_seconds, sock_connect=limits.connect_seconds, sock_read=limits.first_byte_seconds
    )
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
