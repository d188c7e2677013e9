"""Settings every service shares, read once from SONANT_* environment variables and passed on."""

import os
import socket
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.bus import kafka_url
from common.kernel.listening import wrong_address
from common.secret_box import SecretBox, secret_keys
from common.storage.postgres import STATEMENTS

LOG_SCHEMES = (*kafka_url.SCHEMES, "redis", "rediss", "unix")
REDIS_SCHEMES = ("redis", "rediss", "unix")
DATABASE_SCHEMES = ("postgresql", "postgres")
# As libpq has them.
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
# Given to a service: look at the settings, say what is wrong with them, and end.
CHECK_OPTION = "--check"


class CommonSettings(BaseSettings):
    """Where the engines are and how this instance runs."""

    model_config = SettingsConfigDict(env_prefix="SONANT_", extra="ignore", frozen=True)

    log_url: str = Field(
        default="redis://127.0.0.1:6379",
        description="The durable log: kafka://host:9092[,host:9092], kafka+ssl:// for TLS, both with "
        "user:password@ before the hosts where one logs in; or redis://host:6379 (embedded).",
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
    otlp_endpoint: str = Field(
        default="",
        description="Where traces go, as OTLP over HTTP: http://collector:4318, to which /v1/traces is added. Unset, "
        "none are made.",
    )
    otlp_headers: SecretStr = Field(
        default=SecretStr(""),
        description="Headers for the endpoint of traces: name=value[,name=value], with values percent-encoded.",
    )
    trace_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Which part of the traces that begin here is recorded. A request that carries a traceparent is "
        "recorded as that says.",
    )
    pause_look_seconds: float = Field(
        default=0.1,
        ge=0.01,
        description="How often a process looks whether its event loop stood still; a pause shows as at most this much "
        "shorter than it was.",
    )
    kafka_replication: int = Field(default=1, ge=1, description="Replicas of topics created at boot; 3 in production.")
    kafka_username: str = Field(default="", description="Who logs in to Kafka, where SONANT_LOG_URL does not say.")
    kafka_password: SecretStr = Field(default=SecretStr(""), description="The password of that user.")
    kafka_sasl_mechanism: str = Field(
        default="",
        description="How one logs in to Kafka: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER. Unset, PLAIN where "
        "there is a user, OAUTHBEARER where there is a token.",
    )
    kafka_ssl_cafile: str = Field(
        default="", description="File (PEM) of the authorities that kafka+ssl:// trusts; unset, those of the system."
    )
    kafka_ssl_certfile: str = Field(default="", description="File (PEM) of the certificate that we show to Kafka.")
    kafka_ssl_keyfile: str = Field(default="", description="File (PEM) of its key, unencrypted, where it is apart.")
    kafka_token_url: str = Field(
        default="",
        description="Endpoint that gives tokens for OAUTHBEARER (client credentials); user and password are the id "
        "of the client and its secret.",
    )
    kafka_token_file: str = Field(
        default="", description="File that holds the token for OAUTHBEARER, read at each login; instead of an endpoint."
    )
    kafka_token_scope: str = Field(default="", description="The scope that is asked for at that endpoint.")
    database_pool: int = Field(default=8, ge=1, description="PostgreSQL connections per process.")
    database_statements: int = Field(
        default=STATEMENTS,
        ge=0,
        description="Prepared statements that each of them keeps; 0 behind pgbouncer in transaction mode.",
    )
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

    @field_validator("log_url")
    @classmethod
    def _is_a_log(cls, value: str) -> str:
        _engine_url(value, LOG_SCHEMES)
        if kafka_url.is_kafka(value):
            kafka_url.KafkaUrl.parse(value)
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        return _with_its_files(_engine_url(value, REDIS_SCHEMES), ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: str) -> str:
        _with_its_files(_engine_url(value, DATABASE_SCHEMES), ("sslrootcert", "sslcert", "sslkey", "sslcrl"))
        given = dict(parse_qsl(urlsplit(value).query)).get("sslmode", SSL_MODES[0])
        if given not in SSL_MODES:
            raise ValueError(f"sslmode is {_choice(SSL_MODES)}")
        return value

    @field_validator("objects_url")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        parts = urlsplit(value)
        folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        if value and not folder and not (parts.scheme == "s3" and parts.netloc):
            raise ValueError("expected is file:///folder or s3://bucket/prefix")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("expected is http://host:4318 or https://host")
        return value

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, value: str) -> str:
        if value.lower() not in LOG_LEVELS:
            raise ValueError(f"expected is {_choice(LOG_LEVELS)}")
        return value

    @model_validator(mode="after")
    def _kafka_lets_us_in(self) -> Self:
        if kafka_url.is_kafka(self.log_url) and (why := kafka_url.KafkaUrl.parse(self.log_address).complaint()):
            raise ValueError(f"SONANT_LOG_URL: {why} (there, or in a variable SONANT_KAFKA_…)")
        return self

    @property
    def log_address(self) -> str:
        """The URL of the log with what the settings about Kafka add to it; it may hold a password."""
        return kafka_url.completed(self.log_url, {name: self._of_kafka(name) for name in kafka_url.FIELDS})

    def _of_kafka(self, name: str) -> str:
        value = getattr(self, f"kafka_{name}")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    def secret_box(self) -> SecretBox:
        """What seals and opens the secrets at rest."""
        return SecretBox(secret_keys(self.secret_keys.get_secret_value()))


def _engine_url(value: str, schemes: Collection[str]) -> str:
    """The URL as it is; its text is in no message, for it may hold a password."""
    scheme, separator, _ = value.partition("://")
    if not separator or scheme.lower() not in schemes:
        raise ValueError(f"expected is a URL that begins with {_choice([f'{each}://' for each in schemes])}")
    try:
        # Kafka and PostgreSQL take several hosts.
        for host in urlsplit(value).netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        raise ValueError(
            "the host or its port cannot be read; expected is host:port, and in a password "
            "each of / ? # @ : as %2F %3F %23 %40 %3A"
        ) from None
    return value


def _with_its_files(url: str, options: Collection[str]) -> str:
    """The URL, where the files are there that it names by these options."""
    for name, file in parse_qsl(urlsplit(url).query):
        if name in options and not Path(file).is_file():
            raise ValueError(f"{name} names {file}, which is no file here")
    return url


def _choice(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


S = TypeVar("S", bound=CommonSettings)


def read_settings(settings: type[S], *looks: Callable[[S], Iterable[str]]) -> S:
    """The settings of this process; where one cannot be, the process ends with one plain line for each and EX_CONFIG.

    `looks` are shown settings that parse, and give such lines (`SONANT_NAME: why`) for what they name, as a file. The
    exit code tells a supervisor that another start would end the same way. With `--check` it ends here in any case.
    """
    read, wrong = _read(settings)
    if read is not None:
        wrong = [line for look in (_wrong_ops_address, _unusable_kafka_files, *looks) for line in look(read)]
    if wrong or read is None:
        sys.stderr.write("".join(f"{line}\n" for line in wrong))
        sys.exit(os.EX_CONFIG)
    if CHECK_OPTION in sys.argv[1:]:
        sys.exit(os.EX_OK)
    return read


def port_to_try(port: int) -> int:
    """The port to look at: while settings are only checked, a process of ours may have it, so any will do."""
    return 0 if CHECK_OPTION in sys.argv[1:] else port


def _wrong_ops_address(settings: CommonSettings) -> Iterable[str]:
    port = port_to_try(settings.ops_port)
    return wrong_address(settings.ops_host, port, host_variable="SONANT_OPS_HOST", port_variable="SONANT_OPS_PORT")


def _unusable_kafka_files(settings: CommonSettings) -> Iterable[str]:
    if kafka_url.is_kafka(settings.log_url):
        # Imported where it is used: the embedded mode does without the Kafka client.
        from common.bus.kafka_access import tls_context

        try:
            tls_context(kafka_url.KafkaUrl.parse(settings.log_address))
        except OSError as error:
            yield f"SONANT_LOG_URL: {error}"


def _read(settings: type[S]) -> tuple[S | None, list[str]]:
    try:
        return settings(), []
    except ValidationError as error:
        return None, refusals(error)


def variables(settings: type[BaseSettings]) -> frozenset[str]:
    """The environment variables that set its fields."""
    prefix = settings.model_config.get("env_prefix", "")
    return frozenset(f"{prefix}{name}".upper() for name in settings.model_fields)


def refusals(error: ValidationError) -> list[str]:
    """One plain line for each setting that cannot be, without its value, which may be a secret."""
    return [_variable(wrong["loc"]) + wrong["msg"].removeprefix("Value error, ") for wrong in error.errors()]


def _variable(place: tuple[int | str, ...]) -> str:
    """How a line begins; what is wrong between several settings has no place, and names one in its text."""
    return f"SONANT_{str(place[0]).upper()}: " if place else ""
