"""Settings of the gateway."""

from pathlib import Path

from pydantic import Field, SecretStr

from common.kernel.settings import CommonSettings


class GatewaySettings(CommonSettings):
    """What the gateway needs beyond the common settings."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 inside a container.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the public API.")
    admin_key_file: Path | None = Field(
        default=None, description="Where to write a first admin key (0600) if there is none; unset writes none."
    )
    chat_deadline: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="Seconds after which an answer is given up, from the request's arrival.",
    )
    resume_grace: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="Seconds an answer goes on after its client dropped; 0 cancels at once. A request may ask for "
        "its own with the header x-sonant-resume-grace.",
    )
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Largest request body accepted.")
    max_messages: int = Field(default=2000, ge=1, description="Most messages in one chat request.")
    keepalive_seconds: float = Field(
        default=15.0, gt=0, description="A silent stream gets an SSE comment this often, so that proxies keep it open."
    )
    head_seconds: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Seconds for the head of a request: from the connection's start for the first, from its first byte "
        "for each later one.",
    )
    idle_connection_seconds: float = Field(
        default=75.0, gt=0, le=3600, description="A kept connection without a further request is closed so late."
    )
    write_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="A client that reads nothing of its answer for so many seconds is cut off.",
    )
    max_connections: int = Field(
        default=0,
        ge=0,
        description="Most open connections of this process; 0 is 10000, and it is never more than half of the "
        "descriptors the process may open. At the bound a new connection replaces one that waits for a request.",
    )
    max_connections_per_address: int = Field(
        default=0,
        ge=0,
        description="Most open connections from one address, 0 for no such bound. Off unless set: behind a proxy all "
        "clients have the proxy's address. Set it where clients connect directly.",
    )
    hume_webhook_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Comma list of the keys that may sign webhooks of Hume, several while one replaces another; "
        "without any they are refused.",
    )

    @property
    def hume_webhook_secrets(self) -> list[str]:
        """The keys that may sign webhooks of Hume."""
        return [key for part in self.hume_webhook_keys.get_secret_value().split(",") if (key := part.strip())]
