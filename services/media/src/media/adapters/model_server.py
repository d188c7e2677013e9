"""A server that has models as OpenAI's does: its client, and what its errors mean."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from common.failures import ProviderDown, Refused
from common.providers.openai_client import OpenAiClient, is_no_answer, open_openai, status_error
from common.providers.policy import CallLimits
from common.providers.retry_after import retry_after

FOR_GOOD = frozenset({400, 401, 403, 404, 413, 422})
MAX_QUOTED = 300


def open_client(url: str, key_variable: str, limits: CallLimits) -> AbstractAsyncContextManager[OpenAiClient]:
    """The client of the server at this address; `key_variable` names the variable of its key."""
    # The policy tries again, within the time that its caller has.
    return open_openai(
        url,
        os.environ.get(key_variable, "").strip(),
        first_byte_seconds=limits.first_byte_seconds,
        connect_seconds=limits.connect_seconds,
    )


def verdict_on(kind: str) -> Callable[[Exception], Refused | ProviderDown | None]:
    """What an error of the package means; None for one that is ours. `kind` is what the model does, in a word."""

    def verdict(error: Exception) -> Refused | ProviderDown | None:
        if (failed := status_error(error)) is not None:
            message = str(failed.message)[:MAX_QUOTED]
            if failed.status_code in FOR_GOOD:
                return Refused(502, f"The {kind} model refused: {message}", "model_refused", type="api_error")
            after = retry_after(failed.response.headers)
            return ProviderDown(f"The {kind} model failed: {message}", status=failed.status_code, retry_after=after)
        if is_no_answer(error):
            return ProviderDown(f"The {kind} model did not answer properly: {type(error).__name__}.")
        return None

    return verdict
