"""The process table of `sonant up`: which engines and services run here, and the environment of each."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sonant_cli.engines import VALKEY_BYTES, Engine, FsyncPolicy, postgres, valkey
from sonant_cli.errors import SettingsError
from sonant_cli.loopback import PortError, Ports
from sonant_cli.probes import HOST, http_ready
from sonant_cli.process import Process
from sonant_cli.state import DataDir

DEFAULT_PORT = 8080
# What a service may spend on work in flight when it is stopped; the supervisor waits a little longer before it
# kills, because committing and closing come after.
DRAIN_SECONDS = 7.0
CLOSING_SECONDS = 3.0
# Where providers on this machine are, for the services.
ADDRESSES = ("SONANT_LOCAL_MODEL_URL", "SONANT_SANDBOX_URL")
# What `build` gives the services where the environment has nothing, or an empty text.
FILLED = frozenset(
    {
        "SONANT_DATABASE_URL",
        "SONANT_DATA_DIR",
        "SONANT_DRAIN_SECONDS",
        "SONANT_LOG_URL",
        "SONANT_PORT",
        "SONANT_REDIS_URL",
        "SONANT_SECRET_KEYS",
    }
)


@dataclass(frozen=True)
class Service:
    """One of our services: its name for operators and the module that runs it."""

    name: str
    module: str


SANDBOX = Service("sandbox", "sandbox")
LOCAL_MODEL = "local-model"
# Ended from the last to the first: the gateway stops taking work while the others still finish it.
SERVICES = (
    Service("telemetry", "telemetry"),
    Service("resources", "resources"),
    Service("media", "media"),
    Service("llm-stream", "llm_stream"),
    Service("gateway", "gateway"),
)


@dataclass(frozen=True)
class Table:
    """What runs, in stages, and where: `urls` holds the engines' addresses (`log`, `redis`, `database`).

    `sandboxed` says what the sandbox stands in for, each with the variable that names the real one's key.
    """

    stages: Sequence[Sequence[Process]]
    urls: Mapping[str, str]
    url: str
    drain_budget: float
    sandboxed: Mapping[str, str]


def build(data: DataDir, environ: Mapping[str, str], ports: Ports, local_model: Path | None = None) -> Table:
    """The table for this environment: engines named by URL and providers with a key are not started here.

    `ports` keeps what the processes listen on, the gateway's port included. `local_model` is the file of the chat model
    that answers on this machine, in the place of the sandbox.

    Raises:
        SettingsError: a setting makes no sense, or the gateway's port cannot be had.
        CliError: an engine is not available on this platform.
    """
    port = held_gateway_port(environ, ports)
    engines = _engines(data, environ, ports)
    urls = _urls(engines, environ)
    shared = _shared_environment(data, environ, urls, port)
    local = [_local_model(local_model, ports.free(), shared)] if local_model else []
    sandbox = [_sandbox(shared, ports.free(), data)] if not local and wants_sandbox(environ) else []
    for process in (*local, *sandbox):
        shared = shared | {name: process.env[name] for name in ADDRESSES if name in process.env}
    if shared.get("SONANT_SANDBOX_URL") and not environ.get("SONANT_RUNWARE_API_KEY"):
        # The sandbox calls back here; a real provider could not.
        shared = {"SONANT_PUBLIC_URL": f"http://{HOST}:{port}"} | shared
    services = [_service(service, ports.free(), shared) for service in SERVICES]
    return Table(
        stages=[[*(engine.process for engine in engines.values()), *local, *sandbox], services],
        urls=urls,
        url=f"http://{HOST}:{port}",
        drain_budget=_drain_seconds(environ) + CLOSING_SECONDS,
        sandboxed=_sandboxed(environ) if sandbox else {},
    )


def filled(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what is empty and gets its value in `build`."""
    return {name: value for name, value in environ.items() if value or name not in FILLED}


def check_own(environ: Mapping[str, str]) -> None:
    """Look at the settings that `sonant up` reads itself.

    Raises:
        SettingsError: one makes no sense.
    """
    gateway_port(environ)
    fsync_policy(environ)
    _drain_seconds(environ)
    _valkey_bytes(environ)


def gateway_port(environ: Mapping[str, str]) -> int:
    """The port the gateway listens on (`SONANT_PORT`).

    Raises:
        SettingsError: it is not a port number.
    """
    given = environ.get("SONANT_PORT") or str(DEFAULT_PORT)
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise SettingsError(f"SONANT_PORT: {given} is no port; expected is a number from 1 to 65535")
    return int(given)


def wants_sandbox(environ: Mapping[str, str]) -> bool:
    """Whether the sandbox answers for the chat provider: no key, no models file, no other sandbox."""
    return not any(environ.get(name) for name in ("OPENAI_API_KEY", "SONANT_MODELS_FILE", "SONANT_SANDBOX_URL"))


def _sandboxed(environ: Mapping[str, str]) -> dict[str, str]:
    """What has no key; Hume needs one only for the organisations it keeps resources of, and for its tokens."""
    providers = {
        "chat model `default`": "OPENAI_API_KEY",
        "Hume": "SONANT_HUME_API_KEY",
        "speech": "SONANT_HUME_API_KEY",
        "videos by Runware": "SONANT_RUNWARE_API_KEY",
        "songs at Spotify": "SONANT_SPOTIFY_CLIENT_ID",
    }
    return {provider: variable for provider, variable in providers.items() if not environ.get(variable)}


def _drain_seconds(environ: Mapping[str, str]) -> float:
    given = environ.get("SONANT_DRAIN_SECONDS") or str(DRAIN_SECONDS)
    try:
        return float(given)
    except ValueError:
        raise SettingsError(f"SONANT_DRAIN_SECONDS: {given} is no number of seconds") from None


def held_gateway_port(environ: Mapping[str, str], ports: Ports) -> int:
    """Keep the gateway's port for it.

    Raises:
        SettingsError: it is not a port number, or cannot be had.
    """
    try:
        return ports.hold(gateway_port(environ))
    except PortError as error:
        raise SettingsError(f"SONANT_PORT: {error}") from None


def fsync_policy(environ: Mapping[str, str]) -> FsyncPolicy:
    """When the embedded log writes to the disk itself (`SONANT_FSYNC`).

    Raises:
        SettingsError: it is none of the policies.
    """
    given = environ.get("SONANT_FSYNC") or FsyncPolicy.EVERY_SECOND
    try:
        return FsyncPolicy(given)
    except ValueError:
        raise SettingsError(f"SONANT_FSYNC: {given} is unknown; expected is {' or '.join(FsyncPolicy)}") from None


def _valkey_bytes(environ: Mapping[str, str]) -> int:
    """What Valkey may use: the log, and half as much again."""
    given = environ.get("SONANT_LOG_MAX_BYTES")
    if not given:
        return VALKEY_BYTES
    try:
        return int(given) * 3 // 2
    except ValueError:
        raise SettingsError(f"SONANT_LOG_MAX_BYTES: {given} is no number of bytes") from None


def _engines(data: DataDir, environ: Mapping[str, str], ports: Ports) -> dict[str, Engine]:
    engines = {}
    if not (environ.get("SONANT_LOG_URL") and environ.get("SONANT_REDIS_URL")):
        engines["valkey"] = valkey(
            data.root / "valkey",
            ports.free(),
            data.secret("valkey"),
            fsync_policy(environ),
            _valkey_bytes(environ),
        )
    if not environ.get("SONANT_DATABASE_URL"):
        engines["postgres"] = postgres(data.root / "postgres", ports.free(), data.secret("postgres"))
    return engines


def _urls(engines: Mapping[str, Engine], environ: Mapping[str, str]) -> dict[str, str]:
    sources = {
        "log": ("SONANT_LOG_URL", "valkey"),
        "redis": ("SONANT_REDIS_URL", "valkey"),
        "database": ("SONANT_DATABASE_URL", "postgres"),
    }
    urls = {name: environ.get(variable) or _address(engines[engine]) for name, (variable, engine) in sources.items()}
    return {**urls, "log": _with_login(urls["log"], environ)}


def _with_login(url: str, environ: Mapping[str, str]) -> str:
    """The address of the log as other commands need it, who may not have the variables about Kafka."""
    if not url.startswith("kafka"):
        return url
    # It takes a moment to load, which the embedded mode should not pay.
    from common.bus.kafka_url import completed_from

    try:
        return completed_from(url, environ)
    except ValueError as error:
        raise SettingsError(f"SONANT_LOG_URL: {error}") from None


def _address(engine: Engine) -> str:
    return engine.socket_url or engine.url


def _shared_environment(
    data: DataDir, environ: Mapping[str, str], urls: Mapping[str, str], port: int
) -> dict[str, str]:
    return dict(environ) | {
        "SONANT_LOG_URL": urls["log"],
        "SONANT_REDIS_URL": urls["redis"],
        "SONANT_DATABASE_URL": urls["database"],
        "SONANT_DATA_DIR": str(data.root),
        "SONANT_SECRET_KEYS": environ.get("SONANT_SECRET_KEYS") or data.secret("sealing"),
        "SONANT_ADMIN_KEY_FILE": str(data.admin_key),
        "SONANT_PORT": str(port),
        "SONANT_DRAIN_SECONDS": str(_drain_seconds(environ)),
        "PYTHONUNBUFFERED": "1",
    }


def _service(service: Service, ops_port: int, shared: Mapping[str, str]) -> Process:
    ops_url = f"http://{HOST}:{ops_port}"
    own = {"SONANT_OPS_PORT": str(ops_port), "SONANT_INSTANCE": f"{service.name}-0"}
    return _python(service, {**shared, **own}, ops_url, f"{ops_url}/readyz")


def _sandbox(shared: Mapping[str, str], port: int, data: DataDir) -> Process:
    url = f"http://{HOST}:{port}"
    own = {
        "SONANT_SANDBOX_PORT": str(port),
        "SONANT_SANDBOX_URL": url,
        "SONANT_SANDBOX_DIR": str(data.root / "sandbox"),
    }
    # It plays a provider, which has no ops port; it answers for its health on the port it serves.
    return _python(SANDBOX, {**shared, **own}, None, f"{url}/healthz")


def _local_model(model: Path, port: int, shared: Mapping[str, str]) -> Process:
    url = f"http://{HOST}:{port}"
    return Process(
        name=LOCAL_MODEL,
        command=[sys.executable, "-m", "sonant_cli.local_chat_server", str(model), str(port)],
        env={**shared, "SONANT_LOCAL_MODEL_URL": url},
        # It answers 503 until the model is loaded.
        probe=partial(http_ready, f"{url}/health"),
        ready_url=f"{url}/health",
    )


def _python(service: Service, env: Mapping[str, str], ops_url: str | None, ready_url: str) -> Process:
    return Process(
        name=service.name,
        command=[sys.executable, "-m", service.module],
        env=env,
        probe=partial(http_ready, ready_url),
        ops_url=ops_url,
        ready_url=ready_url,
    )
