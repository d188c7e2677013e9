"""Settings of telemetry, beside those every service shares."""

from pydantic import Field

from common.kernel.settings import CommonSettings


class TelemetrySettings(CommonSettings):
    """How much one query may ask for."""

    usage_max_days: int = Field(
        default=366, ge=1, description="Longest span of one usage query, in days; bounds what it scans."
    )
    usage_max_rows: int = Field(
        default=5000, ge=1, description="Most rows of one usage answer; 5,000 are about 1 MB on the live channel."
    )
