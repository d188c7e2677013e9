"""`python -m telemetry` runs the service until a stop signal."""

from common.kernel.settings import read_settings
from telemetry.app import build, wrong_folder
from telemetry.settings import TelemetrySettings

if __name__ == "__main__":
    build(read_settings(TelemetrySettings, wrong_folder)).run()
