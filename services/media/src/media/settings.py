"""Settings of media, beside those every service shares."""

from pydantic import Field, field_validator

from common.kernel.settings import CommonSettings
from common.providers.addresses import networks


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
    webhook_networks: str = Field(
        default="",
        description="Comma list of networks that webhooks may be sent to beside public addresses, such as 10.1.0.0/16.",
    )
    webhook_requests: int = Field(
        default=64, ge=1, le=1000, description="Webhooks that a process sends at the same time."
    )
    webhook_seconds: float = Field(
        default=15.0, gt=0, le=50, description="How long a webhook endpoint may take to answer, in seconds."
    )
    webhook_delays: str = Field(
        default="5,300,1800,7200,18000,36000,36000",
        description="Comma list of the seconds after which a webhook that was not received is sent again; behind the "
        "last it is listed as failed.",
    )
    webhook_log_days: float = Field(
        default=30.0, gt=0, description="How long webhook deliveries are listed and can be sent once more."
    )
    webhook_answers_seconds: int = Field(
        default=86400,
        ge=60,
        description="How long the answer to a command about webhooks is kept for a repetition of it.",
    )

    @field_validator("webhook_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks(value)
        return value

    @field_validator("webhook_delays")
    @classmethod
    def _are_delays(cls, value: str) -> str:
        if not 1 <= len(_seconds(value)) <= 20 or not all(0 < each <= 7 * 86400 for each in _seconds(value)):
            raise ValueError("1 to 20 numbers of seconds, each above 0 and at most a week")
        return value

    def delays(self) -> tuple[float, ...]:
        """What comes between two tries of a webhook, in seconds."""
        return _seconds(self.webhook_delays)


def _seconds(text: str) -> tuple[float, ...]:
    return tuple(float(each) for each in text.split(",") if each.strip())
