"""Settings of the gateway."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from common.bus.port import MAX_VALUE_BYTES
from common.kernel.settings import CommonSettings

# What a record holds beside the body: ids, and names of at most a few hundred bytes each.
MAX_BODY_BYTES = MAX_VALUE_BYTES - 64 * 1024
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+")


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
    chat_store: Literal["off", "metadata", "full"] = Field(
        default="full",
        description="What sessions keep of turns, as of llm-stream. Without `full` no response can be continued.",
    )
    resume_grace: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="Seconds an answer goes on after its client dropped; 0 cancels at once. A request may ask for "
        "its own with the header x-sonant-resume-grace.",
    )
    max_body_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=1024,
        description="Largest request body accepted, unpacked. A chat request travels as one record of the log, which "
        f"takes {MAX_BODY_BYTES} bytes: a start with more is refused. Images larger than that go by URL.",
    )
    large_bodies: int = Field(
        default=6,
        ge=1,
        description="Chat and embeddings requests of more than 100 KB read and parsed at the same time; others "
        "wait up to 10 seconds, then get 503 busy. Each may take several times its size in memory.",
    )
    max_messages: int = Field(default=2000, ge=1, description="Most messages in one chat request.")
    stream_open_after: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="Seconds after which a stream that still waits for its first event is opened with status 200 and "
        "SSE comments, for proxies that cut silent connections; an error that comes later travels inside the stream. "
        "0 never does: errors before the first event stay HTTP errors.",
    )
    cors_origins: str = Field(
        default="",
        description="Comma list of the origins whose web pages may call this API from a browser "
        "(https://app.example.com), * for all; none unless set. A key in a web page is everybody's who opens it.",
    )
    keepalive_seconds: float = Field(
        default=15.0, gt=0, description="A silent stream gets an SSE comment this often, so that proxies keep it open."
    )
    log_bytes_per_minute: int = Field(
        default=256 * 1024 * 1024,
        ge=0,
        description="Bytes of requests that one organisation may put on the log in a minute, over all gateways. Past "
        "it the answer is 429 with retry-after. 0 lifts it.",
    )
    idempotent_answers: int = Field(
        default=1000,
        ge=1,
        description="Idempotent answers that are kept for one API key; past it the oldest go before their day is over.",
    )
    idempotent_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=0,
        description="Bytes of idempotent answers that are kept for one API key; past it the oldest go, and "
        "the newest always stays.",
    )
    head_seconds: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Seconds for the head of a request: from the connection's start for the first, from its first byte "
        "for each later one.",
    )
    idle_connection_seconds: float = Field(
        default=75.0,
        gt=0,
        le=3600,
        description="Seconds after which a kept connection without a further request is closed; longer than a proxy "
        "in front keeps its own, or it meets closed ones.",
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
    unsent_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of answers that may wait in this process for their clients to read them, all together. Past "
        "it those are cut off who have read nothing for longest.",
    )
    refusals_per_second: float = Field(
        default=50.0,
        ge=0,
        le=10_000,
        description="Refusals for too much (429, 503 busy) that one organisation gets a second from this gateway; the "
        "first 20 leave at once, and none waits for more than 5 seconds. 0 sends all at once.",
    )
    organization_answers: int = Field(
        default=1000,
        ge=0,
        description="Most answers of one organisation under way at this gateway; more get 429. 0 is no bound.",
    )
    organization_drafts: int = Field(
        default=8,
        ge=0,
        description="Most tool drafts of one organisation under way at this gateway; more get 429. 0 is no bound.",
    )
    organization_writes: int = Field(
        default=100,
        ge=0,
        description="Most other writes of one organisation under way at this gateway; more get 429. 0 is no bound.",
    )
    organization_ingests: int = Field(
        default=500,
        ge=0,
        description="Most batches of interactions of one organisation under way at this gateway; more get 429. 0 is no "
        "bound.",
    )
    organization_reads: int = Field(
        default=1000,
        ge=0,
        description="Most reads of one organisation under way at this gateway; more get 429. 0 is no bound.",
    )
    webhook_deliveries: int = Field(
        default=100,
        ge=0,
        description="Most webhooks under way at this gateway, of all senders; more get 429. 0 is no bound.",
    )
    canary_seconds: float = Field(
        default=60.0,
        ge=0,
        description="How often this gateway sends an interaction of its own through the log to the store, so that the "
        "time until it is visible is known. 0 never does.",
    )
    hume_webhook_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Comma list of the keys that may sign webhooks of Hume, several while one replaces another; "
        "without any they are refused.",
    )

    public_metrics: bool = Field(
        default=False,
        description="Whether the public port serves /metrics too, to whoever asks. The ops port always does.",
    )

    @field_validator("max_body_bytes")
    @classmethod
    def _fits_the_log(cls, value: int) -> int:
        if value > MAX_BODY_BYTES:
            raise ValueError(f"the log takes requests of at most {MAX_BODY_BYTES} bytes")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _parts(value):
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; expected is scheme://host[:port]")
        return value

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may call."""
        return frozenset(_parts(self.cors_origins))

    @property
    def hume_webhook_secrets(self) -> list[str]:
        """The keys that may sign webhooks of Hume."""
        return _parts(self.hume_webhook_keys.get_secret_value())


def _parts(text: str) -> list[str]:
    return [stripped for part in text.split(",") if (stripped := part.strip())]
