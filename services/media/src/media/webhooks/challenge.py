"""Whether an address wants to be called: it has to repeat a word it could not know."""

import hmac
import secrets
import time

import orjson

from common.failures import ProviderDown, Refused
from common.providers.guarded_http import Fetched
from common.providers.webhook_signature import signature
from media.webhook_ports import WebhookCaller
from media.webhooks.message import message

CHALLENGE = "webhook.challenge"
CHALLENGE_SECONDS = 10.0


async def challenge(http: WebhookCaller, url: str, secret: str) -> None:
    """Returns once the address has answered. Raises Refused (400) where it did not, or may not be called.

    The answer is a success whose body is the word, or JSON with it as `challenge`.
    """
    word, at = secrets.token_urlsafe(24), time.time()
    body = message(CHALLENGE, at, {"challenge": word})
    headers = {"content-type": "application/json", **signature(secret, f"msg_{word[:16]}", body, int(at))}
    try:
        answer = await http.post(url, body, headers=headers, seconds=CHALLENGE_SECONDS)
    except ProviderDown as error:
        raise _unverified(error.message) from None
    if not 200 <= answer.status < 300:
        raise _unverified(f"it answered with status {answer.status}")
    if not hmac.compare_digest(_word(answer), word.encode()):
        raise _unverified("its answer does not repeat the challenge")


def _word(answer: Fetched) -> bytes:
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return answer.body.strip()
    word = found.get("challenge") if isinstance(found, dict) else found
    return word.encode(errors="replace") if isinstance(word, str) else b""


def _unverified(reason: str) -> Refused:
    return Refused(400, f"The address does not take webhooks: {reason}.", "webhook_not_verified", "url")
