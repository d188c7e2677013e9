"""Settings of media, beside those every service shares."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

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
    speech_providers: str = Field(
        default="hume,openai,local",
        description="Comma list of who speaks, in the order in which they are tried: hume, openai, or local, which is "
        "an English voice on this machine. One without a key is passed over.",
    )
    hume_api_key: SecretStr = Field(
        default=SecretStr(""),
        description="The key of the account at Hume that speaks. Unset: the sandbox where it runs.",
    )
    hume_base_url: str = Field(default="https://api.hume.ai", description="Where Hume's API is.")
    hume_speech_version: Literal["", "1", "2"] = Field(
        default="", description="The version of Octave, 1 or 2. Unset leaves it to Hume."
    )
    hume_speech_usd: float = Field(
        default=100.0,
        ge=0,
        description="What a million characters cost at Hume, in US dollars, for the costs in facts. By your plan.",
    )
    speech_key_env: str = Field(
        default="OPENAI_API_KEY", description="Which variable holds the key of the OpenAI-compatible speech endpoint."
    )
    speech_url: str | None = Field(
        default=None,
        description="Base address of another server with OpenAI's speech endpoint, with /v1. Unset: OpenAI.",
    )
    speech_model: str = Field(default="gpt-4o-mini-tts", description="Which model of that endpoint speaks.")
    speech_usd: float = Field(
        default=15.0, ge=0, description="What a million characters cost there, in US dollars, for the costs in facts."
    )
    models_dir: Path | None = Field(
        default=None,
        description="Folder with model files; hibari/ in it may hold further voices of this machine. Unset: only the "
        "one in the package.",
    )
    speech_seconds: float = Field(
        default=1800.0, gt=0, description="How long one answer may take to be spoken and read, from its request on."
    )
    speech_workers: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Processes that join and encode speech. They start when they are needed, as does the one that "
        "speaks with the voice of this machine.",
    )
    speech_jobs: int = Field(default=16, ge=1, description="Speech jobs at work in a process.")
    speech_keep_days: float = Field(
        default=30.0, gt=0, description="What was spoken is kept for so long since it was last used."
    )
    speech_kept_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=0,
        description="How much of what was spoken is kept for one organisation; past it what was used least goes.",
    )

    @property
    def speech_order(self) -> tuple[str, ...]:
        """The providers of speech, in the order in which they are tried."""
        return tuple(name.strip() for name in self.speech_providers.split(",") if name.strip())

    @field_validator("speech_providers")
    @classmethod
    def _can_speak(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        if not names or len(set(names)) < len(names) or not set(names) <= {"hume", "openai", "local"}:
            raise ValueError("a comma list of hume, openai and local is expected, each at most once")
        return value

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
