"""Settings of telemetry, beside those every service shares."""

from pydantic import Field

from common.events.telemetry_policy import RetentionDays
from common.kernel.settings import CommonSettings


class TelemetrySettings(CommonSettings):
    """How much one query may ask for, and how long interactions are kept."""

    usage_max_days: int = Field(
        default=366, ge=1, description="Longest span of one usage query, in days; bounds what it scans."
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
    telemetry_sweep_seconds: float = Field(
        default=300.0,
        gt=0,
        description="How often partitions are made ahead and dropped, rows moved to a changed retention, and users "
        "deleted.",
    )
