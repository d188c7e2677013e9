"""`python -m telemetry` runs the service until a stop signal."""

from telemetry.app import build
from telemetry.settings import TelemetrySettings

build(TelemetrySettings()).run()
