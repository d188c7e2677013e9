"""What the handlers of telemetry work with."""

from dataclasses import dataclass

from telemetry.ports import Sessions, Turns, Usage
from telemetry.settings import TelemetrySettings


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything a use case may ask for."""

    settings: TelemetrySettings
    turns: Turns
    usage: Usage
    sessions: Sessions
