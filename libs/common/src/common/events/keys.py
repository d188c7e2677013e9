"""API keys: what gateways tell each other about them, and what travels of them with a request."""

from typing import Literal

from common.events.spec import Payload, SignalSpec


class KeyBudget(Payload):
    """What a key may spend in a day or a month of UTC: tokens, USD, or both.

    `id` is what it is counted under: a key that replaces another one goes on with its budget.
    """

    id: str
    period: Literal["day", "month"] = "month"
    tokens: int | None = None
    usd: float | None = None


class KeyChanged(Payload):
    """A key was revoked or replaced: whatever is cached of it is out of date."""

    key_id: str


KEY_CHANGED = SignalSpec(kind="key-changed", payload=KeyChanged, summary="Forget what is cached of an API key.")
