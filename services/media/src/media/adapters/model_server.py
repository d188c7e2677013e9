"""A server that has models as OpenAI's does: its client, and what its errors mean."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import openai

from common.failures import ProviderDown, Refused
from common.providers.policy import CallLimits
from common.providers.retry_after import retry_after

FOR_GOOD = frozenset({400, 401, 403, 404, 413, 422})
MAX_QUOTED = 300


def open_client(
    url: str | None, key_variable: str, limits: CallLimits
) -> AbstractAsyncContextManager[openai.AsyncOpenAI]:
    """The client of the server at this address; `key_variable` names the variable of its key."""
    # The package insists on a key, and many local servers take any.
    key = os.environ.get(key_variable, "").strip() or "none"
    timeout = openai.Timeout(limits.first_byte_seconds, connect=limits.connect_seconds)
    # The policy tries again, within the time that its caller has.
    return openai.AsyncOpenAI(api_key=key, base_url=url, timeout=timeout, max_retries=0)


def verdict_on(kind: str) -> Callable[[Exception], Refused | ProviderDown | None]:
    """What an error of the package means; None for one that is ours. `kind` is what the model does, in a word."""

    def verdict(error: Exception) -> Refused | ProviderDown | None:
        if isinstance(error, openai.APIStatusError):
            message = str(error.message)[:MAX_QUOTED]
            if error.status_code in FOR_GOOD:
                return Refused(502, f"The {kind} model refused: {message}", "model_refused", type="api_error")
            after = retry_after(error.response.headers)
            return ProviderDown(f"The {kind} model failed: {message}", status=error.status_code, retry_after=after)
        if isinstance(error, openai.OpenAIError | httpx2.HTTPError | OSError):
            return ProviderDown(f"The {kind} model did not answer properly: {type(error).__name__}.")
        return None

    return verdict
