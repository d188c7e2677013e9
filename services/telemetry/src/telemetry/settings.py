"""Settings of telemetry, beside those every service shares."""

from pydantic import Field

from common.kernel.settings import CommonSettings


class TelemetrySettings(CommonSettings):
    """How much one query may ask for."""

    usage_max_days: int = Field(
        default=366, ge=1, description="Longest span of one usage query, in days; bounds what it scans."
    )
    session_days: int = Field(
        default=30,
        ge=1,
        le=3660,
        description="For how many days after its last turn a session is kept where its organisation does not say.",
    )
    session_bytes: int = Field(
        default=1024 * 1024,
        ge=64 * 1024,
        description="Texts that one session keeps; past it the oldest turns go.",
    )
    organization_sessions: int = Field(
        default=100_000,
        ge=1,
        description="Sessions that an organisation keeps; the rest goes, oldest first.",
    )
    usage_max_rows: int = Field(
        default=5000, ge=1, description="Most rows of one usage answer; 5,000 are about 1 MB on the live channel."
    )
