"""Faults that users of chat meet: upstreams that fail or are slow, a moderator that is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.bench.alert_faults.fault import Fault, Provoke, Scene, repeated
from tests.support.clients import chat
from tests.support.sonant import models_toml

MODELS = (
    models_toml("SANDBOX", {"default": "sandbox", "failing": "sandbox+status-500", "tardy": "sandbox+first-3000"})
    + """
[aliases.moderated]
moderation = ["input"]
[[aliases.moderated.upstreams]]
name = "moderated"
base_url = "SANDBOX/v1"
model = "sandbox"
provider = "sandbox"
"""
)


def asking(model: str, every: float) -> Provoke:
    """Turns of one model by two organisations, so that nobody takes it for the doing of one."""

    @asynccontextmanager
    async def provoke(scene: Scene) -> AsyncIterator[None]:
        keys = [await scene.key("chat") for _ in range(2)]

        async def once() -> None:
            for key in keys:
                await scene.call("POST", "/v1/chat/completions", key, chat("Hello.", model, stream=True))

        async with repeated(every, once):
            yield

    return provoke


UPSTREAM_FAILS = Fault(
    {"TurnsFail": {"model": "failing"}, "BreakerOpen": {"upstream": "failing"}},
    "the only upstream of an alias answers 500; then nobody asks for it any more",
    asking("failing", 1.0),
)
UPSTREAM_IS_SLOW = Fault(
    {"SlowFirstToken": {"model": "tardy"}}, "an upstream whose first word takes 3 s", asking("tardy", 2.0)
)
# The port of the moderator is closed.
MODERATOR_AWAY = Fault(
    {"ModerationUnavailable": {"stage": "input"}, "ProviderBreakerOpen": {"provider": "moderation"}},
    "no moderator listens at its address; then nobody asks for it any more",
    asking("moderated", 1.0),
)
