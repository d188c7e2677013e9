"""`python -m telemetry` runs the service until it is told to stop."""

from telemetry.app import build
from telemetry.settings import TelemetrySettings

build(TelemetrySettings()).run()
