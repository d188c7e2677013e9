"""What every event and reply about resources speaks of: kinds, pins, and the scope of an active set."""

from typing import Annotated, Literal

from pydantic import Field

from common.events.spec import Payload

Kind = Literal["prompt", "config", "tool", "voice"]
# Whose active set: a user's in a project, a project's default, the organisation's default.
Layer = Literal["user", "project", "organization"]
DEFAULT_PROJECT = "default"
# In an active set, and in a config. A model is offered all of them with every turn.
MAX_TOOLS = 64


class Pin(Payload):
    """A resource in an active set; `version` None follows the latest."""

    id: str
    version: int | None = None


class Pins(Payload):
    """What an active set consists of."""

    config: Pin
    prompt: Pin
    voice: Pin | None = None
    tools: Annotated[tuple[Pin, ...], Field(fail_fast=True)] = ()


class ToolRun(Payload):
    """How Sonant runs a tool: one of its instance by name (`builtin`), or the server at `url`.

    `secret` signs the calls, and is sealed. A call may take `seconds`. `on_interrupt` says what becomes of a call when
    the user interrupts. `filler` is said once calls have taken `filler_after` seconds.
    """

    builtin: str | None = None
    url: str | None = None
    secret: str | None = None
    seconds: float = 10.0
    on_interrupt: Literal["cancel", "finish"] = "cancel"
    filler: str | None = None
    filler_after: float = 1.0


class SetScope(Payload):
    """Which active set is meant: `project_id` is empty for the organisation's, `user_id` for a default."""

    layer: Layer = "user"
    project_id: str = DEFAULT_PROJECT
    user_id: str = ""
