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


class SetScope(Payload):
    """Which active set is meant: `project_id` is empty for the organisation's, `user_id` for a default."""

    layer: Layer = "user"
    project_id: str = DEFAULT_PROJECT
    user_id: str = ""
