"""Settings of media, beside those every service shares."""

from pydantic import Field

from common.kernel.settings import CommonSettings


class MediaSettings(CommonSettings):
    """Which providers make what, and how much of it there may be at once."""

    sandbox_url: str | None = Field(
        default=None, description="Where the provider sandbox listens; it stands in for providers without a key."
    )
    video_providers: str = Field(
        default="runware,local",
        description="Comma list of who makes videos, in the order in which they are tried: runware, or local, which "
        "renders a plain clip of the prompt's words here. One without a key is passed over.",
    )
    video_jobs: int = Field(
        default=200, ge=1, description="Video jobs at work in a process; most of them wait for a provider."
    )
    max_asset_bytes: int = Field(
        default=1024 * 1024 * 1024, ge=1, description="Largest file that is kept, uploaded or made."
    )
    organization_asset_bytes: int = Field(
        default=20 * 1024 * 1024 * 1024,
        ge=0,
        description="Bytes of all files that one organisation may keep; with more, uploads get 429 and jobs fail.",
    )
    upload_days: float = Field(
        default=30.0,
        ge=0,
        description="Days after which an upload is deleted, where it was not uploaded for longer or less. 0 keeps it "
        "until somebody deletes it. What a job made goes with the job.",
    )
    asset_sweep_seconds: float = Field(
        default=600.0, gt=0, description="How often files that nobody needs are looked for: expired, or left over."
    )
    asset_orphan_seconds: float = Field(
        default=86400.0,
        ge=60,
        description="Age from which a stored file without a row is deleted, and one that was never finished; longer "
        "than any upload may take.",
    )
    media_processes: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Processes that render, decode and measure, at the lowest priority. They start when they are "
        "needed, and end after a minute without work.",
    )
    media_process_seconds: float = Field(
        default=300.0, gt=0, description="Most seconds of the processor that one such piece of work may take."
    )
    media_process_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=256 * 1024 * 1024,
        description="Most memory of one such process; with more its work ends as failed.",
    )
