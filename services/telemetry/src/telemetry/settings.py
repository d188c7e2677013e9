"""Settings of telemetry, beside those every service shares."""

from pydantic import Field

from common.events.telemetry_policy import RetentionDays
from common.kernel.settings import CommonSettings


class TelemetrySettings(CommonSettings):
    """How much one query may ask for, and how long interactions are kept."""

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
    telemetry_prod_days: RetentionDays = Field(
        default=90, description="Days for which interactions of the mode prod are kept where no policy says otherwise."
    )
    telemetry_dev_days: RetentionDays = Field(
        default=14, description="Days for which interactions of the mode dev are kept where no policy says otherwise."
    )
    telemetry_policy_seconds: float = Field(
        default=5.0, ge=0, le=300, description="How long a changed policy or price may take until it holds."
    )
    export_max_bytes: int = Field(
        default=20 * 1024**3,
        ge=1024,
        description="Most bytes of one export of interactions, as JSON; they lie in the data directory while it is "
        "made.",
    )
    telemetry_sweep_seconds: float = Field(
        default=300.0,
        gt=0,
        description="How often partitions are made ahead and dropped, rows moved to a changed retention, and users "
        "deleted.",
    )
