"""API keys: what gateways tell each other about them."""

from common.events.spec import Payload, SignalSpec


class KeyChanged(Payload):
    """A key was revoked or replaced: whatever is cached of it is out of date."""

    key_id: str


KEY_CHANGED = SignalSpec(kind="key-changed", payload=KeyChanged, summary="Forget what is cached of an API key.")
