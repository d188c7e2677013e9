"""Settings every service shares, read once from SONANT_* environment variables and passed on."""

import os
import socket
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.secret_box import SecretBox, secret_keys


class CommonSettings(BaseSettings):
    """Where the engines are and how this instance runs."""

    model_config = SettingsConfigDict(env_prefix="SONANT_", extra="ignore", frozen=True)

    log_url: str = Field(
        default="redis://127.0.0.1:6379",
        description="The durable log: kafka://host:9092[,host:9092] or redis://host:6379 (embedded).",
    )
    log_max_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=16 * 1024 * 1024,
        description="What the embedded log may keep, all topics together. Past it finished records go, the oldest "
        "first; where the others fill it, requests are refused with 503. The store needs half as "
        "much again (maxmemory); "
        "with less, the log keeps two thirds of that. On Kafka it is for the broker to say.",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379",
        description="Redis or Valkey for the live channel, limits and caches: redis://, rediss:// or unix://.",
    )
    database_url: str = Field(
        default="postgresql://127.0.0.1:5432/sonant", description="PostgreSQL 15 or newer with pgvector."
    )
    data_dir: Path = Field(default=Path(".sonant"), description="Where the embedded mode keeps everything.")
    objects_url: str = Field(
        default="",
        description="Where files are kept: file:///folder, or s3://bucket/prefix with credentials, region and endpoint "
        "from the variables AWS_*. Unset, the folder `objects` of the data directory. All services name the same.",
    )
    secret_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Comma list of the keys that seal secrets at rest (those of HTTP tools), each of 32 random "
        "characters or more. The first one seals, all of them open: put a new one before the old one to rotate. Unset, "
        "no secrets are kept.",
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        description="Name of this process, unique per service and stable over restarts (a pod or host name).",
    )
    ops_host: str = Field(default="127.0.0.1", description="Address of the health and metrics port.")
    ops_port: int = Field(default=0, ge=0, le=65535, description="Port of /healthz, /readyz, /metrics; 0 picks one.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    drain_seconds: float = Field(
        default=10.0, ge=0, description="How long work in flight may go on after a stop signal; below the pod's grace."
    )
    pause_look_seconds: float = Field(
        default=0.1,
        ge=0.01,
        description="How often a process looks whether its event loop stood still; a pause shows as at most this much "
        "shorter than it was.",
    )
    kafka_replication: int = Field(default=1, ge=1, description="Replicas of topics created at boot; 3 in production.")
    database_pool: int = Field(default=8, ge=1, description="PostgreSQL connections per process.")
    concurrency: int = Field(
        default=1000,
        ge=1,
        description="Records at work per process; a running chat turn is one of them. Where all places are taken they "
        "are shared out fairly between organisations; a quarter more is for those below their share, and another for "
        "questions.",
    )
    place_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How long a request waits for a place of its organisation before its caller gets 503 `busy`.",
    )
    work_bytes: int = Field(
        default=96 * 1024 * 1024,
        ge=1024 * 1024,
        description="Memory that the records in flight of a process may need together, by estimate. Past it nothing is "
        "taken in; one that needs more alone passes alone. A fifth of what the container has.",
    )

    @field_validator("secret_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        SecretBox(secret_keys(value.get_secret_value()))
        return value

    def secret_box(self) -> SecretBox:
        """What seals and opens the secrets at rest."""
        return SecretBox(secret_keys(self.secret_keys.get_secret_value()))


S = TypeVar("S", bound=CommonSettings)


def read_settings(settings: type[S]) -> S:
    """The settings of this process; where one cannot be, the process ends with one plain line for each and EX_CONFIG.

    The exit code tells a supervisor that another start would end the same way.
    """
    try:
        return settings()
    except ValidationError as error:
        sys.stderr.write("".join(f"{line}\n" for line in refusals(error)))
        sys.exit(os.EX_CONFIG)


def refusals(error: ValidationError) -> list[str]:
    """One plain line for each setting that cannot be, without its value, which may be a secret."""
    return [
        f"SONANT_{str(wrong['loc'][0]).upper()}: {wrong['msg'].removeprefix('Value error, ')}"
        for wrong in error.errors()
        if wrong["loc"]
    ]
