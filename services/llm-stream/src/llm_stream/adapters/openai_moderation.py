"""Moderation by OpenAI's API (POST /moderations), or by whoever speaks it."""

from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from common.failures import ProviderDown, Refused
from common.providers.policy import CallLimits, Policy, no_answer
from llm_stream.ports import ModerationUnavailable

MAX_ANSWER_BYTES = 1024 * 1024
MAX_NAME = 100


class OpenAiModeration:
    """The port `Moderator`. Without a URL nobody is asked, and it is always away."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str | None, key: str, model: str, *, seconds: float
    ) -> None:
        self._session = session
        self._url = f"{(url or '').rstrip('/')}/moderations"
        self._key = key
        self._model = model
        limits = CallLimits(connect_seconds=1.0, first_byte_seconds=seconds, total_seconds=seconds, concurrency=64)
        self._policy = Policy("moderation", _verdict, limits=limits, configured=url is not None)

    async def check(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        async def send() -> list[tuple[str, ...]]:
            body = orjson.dumps({"model": self._model, "input": list(texts)})
            headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise ProviderDown(f"The moderator failed with status {response.status}.", status=response.status)
                return _read(await response.content.read(MAX_ANSWER_BYTES), len(texts))

        try:
            return await self._policy.read(self._policy.begin(), "moderate", send)
        except (Refused, ProviderDown) as error:
            raise ModerationUnavailable(str(error)) from error


def _read(body: bytes, count: int) -> list[tuple[str, ...]]:
    """What each text is flagged for; raises ValueError where the answer is no verdict on each."""
    answer = orjson.loads(body)
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list) or len(results) != count:
        raise ValueError("not a result for each text")
    return [_flagged(result) for result in results]


def _flagged(result: Any) -> tuple[str, ...]:
    if not isinstance(result, dict) or not isinstance(result.get("flagged"), bool):
        raise ValueError("not a result")
    if not result["flagged"]:
        return ()
    categories = result.get("categories")
    named = categories if isinstance(categories, dict) else {}
    return tuple(sorted(str(name)[:MAX_NAME] for name, found in named.items() if found is True)) or ("flagged",)


def _verdict(error: Exception) -> Refused | ProviderDown | None:
    return no_answer(error) if isinstance(error, (aiohttp.ClientError, OSError, ValueError)) else None
