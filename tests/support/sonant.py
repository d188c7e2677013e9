"""A whole Sonant for system tests: `sonant up` on a directory of its own, with the sandbox as its upstream."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sonant_cli.loopback import free_ports
from tests.support.models import models_dir

ROOT = Path(__file__).parents[2]
READY_SECONDS = 90.0
STOP_SECONDS = 30.0

# Aliases of the shared system: the sandbox's behaviour is chosen by the model name (libs/sandbox/README.md).
MODELS: dict[str, str | tuple[str, ...]] = {
    "default": "sandbox",
    "slow": "sandbox+delay-50+chunks-100",
    "brisk": "sandbox+first-20+delay-5+chunks-20",
    "stalling": "sandbox+stall-after-3",
    "silent": "sandbox+silence",
    "refusing": "sandbox+content-filter",
    "breaking": "sandbox+reset-after-3",
    "erring": "sandbox+error-after-3",
    "filtering": "sandbox+content-filter-finish",
    "steady": "sandbox+delay-15+chunks-80",
    "pausing": "sandbox+delay-3500+chunks-2",
    "failing": "sandbox+status-500",
    "spent": "sandbox+quota",
    # With a second upstream text is held back to the end of its sentence.
    "twice": ("sandbox", "sandbox-b"),
    "thinking": "sandbox+reasoning-3+aloud",
    "thinking-twice": ("sandbox+reasoning-3+aloud", "sandbox-b"),
    "declining": "sandbox+reasoning-2+refusal",
    "declining-twice": ("sandbox+reasoning-2+refusal", "sandbox-b"),
}
# Servers that the sandbox speaks like. Each has an alias with a fallback of its kind, one that breaks, and a short one.
DIALECTS = ("azure", "llama.cpp", "mistral", "ollama", "sglang", "vllm")
for _name in DIALECTS:
    MODELS[_name] = (f"{_name}/sandbox+aloud", f"{_name}/sandbox-b")
    MODELS[f"{_name}-breaking"] = (f"{_name}/sandbox+cut-after-7", f"{_name}/sandbox-b")
    MODELS[f"{_name}-short"] = f"{_name}/sandbox+context-length"
# The same for vectors: the models behind an alias, in order.
EMBEDDING_MODELS: dict[str, tuple[str, ...]] = {
    "embeddings": ("text-embedding-3-small",),
    "embeddings-numbers": ("text-embedding-3-large",),
    "embeddings-slow": ("text-embedding-3-small+headers-2000",),
    "embeddings-twice": ("text-embedding-3-small+status-500", "text-embedding-3-small"),
    "embeddings-short": ("text-embedding-3-small+context-length",),
    "embeddings-busy": ("text-embedding-3-small+status-429-ra-30",),
}
# By which the sandbox shows what it was asked.
RECORD_KEY = "the-record-of-this-test"
SHOW_RECORD = {"Authorization": f"Bearer {RECORD_KEY}"}
# What the shared system takes webhooks by: a new key and the one it replaces.
WEBHOOK_KEYS = ("webhook-key-new", "webhook-key-old")
# Organisations of the shared system whose resources are at the voice provider, one for each test that needs its own.
HUME_ORGANIZATIONS = tuple(f"at-hume-{number}" for number in range(12))


def free_port() -> int:
    """A loopback port nobody has now, and that no outgoing connection takes before it is listened on."""
    [port] = free_ports(1)
    return port


def models_toml(sandbox_url: str, models: Mapping[str, str | tuple[str, ...]]) -> str:
    """A models file with one upstream per alias on the sandbox, or as many as there are models in a tuple."""
    lines = []
    for alias, given in models.items():
        lines.append(f'[aliases."{alias}"]\nfirst_byte_timeout = 5\nidle_timeout = 5')
        for number, model in enumerate((given,) if isinstance(given, str) else given):
            lines.append(
                f'[[aliases."{alias}".upstreams]]\nname = "{alias}{number or ""}"\nbase_url = "{sandbox_url}/v1"\n'
                f'model = "{model}"\nprovider = "sandbox"\nprice = {{ input = 1.0, output = 2.0 }}'
            )
            if model.startswith("mistral/"):
                # It refuses `stream_options`.
                lines.append('capabilities = ["tools", "done"]')
    return "\n".join(lines)


def embeddings_toml(sandbox_url: str) -> str:
    """The rest of the models file: aliases that make vectors."""
    sections = []
    for alias, models in EMBEDDING_MODELS.items():
        sections.append(f'[aliases."{alias}"]\nserves = "embeddings"\nsame_vectors = true\n')
        # One of them speaks no base64, and sends numbers.
        capabilities = "capabilities = []\n" if alias == "embeddings-numbers" else ""
        sections += [
            f'[[aliases."{alias}".upstreams]]\nname = "{alias}-{number}"\nbase_url = "{sandbox_url}/v1"\n'
            f'model = "{model}"\nprovider = "sandbox"\nprice = {{ input = 1.0 }}\n{capabilities}'
            for number, model in enumerate(models)
        ]
    return "\n".join(["", *sections])


@dataclass(frozen=True)
class Sonant:
    """A running system; `env` is what it was given beside its defaults."""

    url: str
    key: str
    data_dir: Path
    sandbox_url: str
    supervisor: subprocess.Popen[str]
    env: Mapping[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def run(self) -> dict[str, Any]:
        """What `run.json` says right now."""
        found: dict[str, Any] = json.loads((self.data_dir / "run.json").read_text())
        return found

    def urls(self) -> dict[str, str]:
        """Where its engines are."""
        found: dict[str, str] = json.loads((self.data_dir / "urls.json").read_text())
        return found

    def pid(self, name: str) -> int:
        return int(self.run()["processes"][name]["pid"])

    def kill(self, name: str) -> int:
        """`kill -9` one process; returns its pid."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def ops(self, name: str, path: str) -> httpx.Response:
        """GET on the ops port of a service."""
        return httpx.get(self.run()["processes"][name]["ops_url"] + path, timeout=5.0)

    def ready(self, *names: str) -> bool:
        """Whether these services answer ready, under the pids that `run.json` names."""
        try:
            return all(self.ops(name, "/readyz").status_code == 200 for name in names)
        except (httpx.HTTPError, KeyError, TypeError):
            return False

    def sandbox(self, path: str, **params: Any) -> Any:
        """What the upstream saw: GET on its observation endpoints."""
        url = f"{self.sandbox_url}/sandbox/{path}"
        return httpx.get(url, params=params, headers=SHOW_RECORD, timeout=5.0).json()

    def log(self, name: str) -> str:
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """A process that does nothing for as long as the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def sandbox_process() -> Iterator[str]:
    """The provider stand-in as a process of its own; yields its URL."""
    command = [sys.executable, "-m", "sandbox", "--port", "0"]
    env = {**os.environ, "SONANT_SANDBOX_RECORD_KEY": RECORD_KEY}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().strip().rpartition(" ")[2]
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        process.stdout.close()


@contextmanager
def sonant_system(
    *,
    models: Mapping[str, str | tuple[str, ...]] | None = None,
    models_text: str | None = None,
    env: Mapping[str, str] | None = None,
    own_sandbox: bool = False,
) -> Iterator[Sonant]:
    """Start everything; ends it, and checks that nothing is left behind.

    With `own_sandbox` the providers are stood in for by a process of this system, as without any key.
    """
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sonant-system-")))
        sandbox_url = stack.enter_context(sandbox_process())
        models_file = base / "models.toml"
        text = models_text.replace("SANDBOX", sandbox_url) if models_text else None
        models_file.write_text(text or models_toml(sandbox_url, models or MODELS) + embeddings_toml(sandbox_url))
        data_dir, port = base / "data", free_port()
        settings = {
            "SONANT_DATA_DIR": str(data_dir),
            "SONANT_PORT": str(port),
            "SONANT_MODELS_FILE": str(models_file),
            # It also stands in for the voice provider and for the model that drafts tools.
            "SONANT_SANDBOX_URL": sandbox_url,
            "PYTHONUNBUFFERED": "1",
        }
        outside = dict(os.environ)
        if own_sandbox:
            for name in ("SONANT_MODELS_FILE", "SONANT_SANDBOX_URL"):
                del settings[name]
            outside.pop("OPENAI_API_KEY", None)
        output = base / "up.out"
        with output.open("w") as file:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "sonant"), "up"],
                cwd=ROOT,
                env={**outside, **settings, **(env or {})},
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        stack.callback(_end, process)
        _await_ready(process, output)
        key = (data_dir / "admin-key").read_text().strip()
        yield Sonant(f"http://127.0.0.1:{port}", key, data_dir, sandbox_url, process, env or {})


@contextmanager
def started_again(system: Sonant) -> Iterator[None]:
    """The same system by another `sonant up`, on what the one before has left; that one is ended here at the latest."""
    system.supervisor.terminate()
    system.supervisor.wait(STOP_SECONDS)
    output = system.data_dir.parent / "again.out"
    settings = {
        "SONANT_DATA_DIR": str(system.data_dir),
        "SONANT_PORT": system.url.rpartition(":")[2],
        "SONANT_MODELS_FILE": str(system.data_dir.parent / "models.toml"),
        "SONANT_SANDBOX_URL": system.sandbox_url,
    }
    with output.open("w") as file:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "sonant"), "up"],
            cwd=ROOT,
            env={**os.environ, **settings, **system.env},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        _await_ready(process, output)
        yield
    finally:
        _end(process)


def _await_ready(process: subprocess.Popen[str], output: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while "sonant ready on" not in (text := output.read_text(errors="replace")):
        assert process.poll() is None, f"sonant up ended:\n{text[-3000:]}"
        assert time.monotonic() < deadline, f"sonant up is not ready:\n{text[-3000:]}"
        time.sleep(0.02)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.terminate()
    process.wait(STOP_SECONDS)
    _, left = psutil.wait_procs(children, timeout=STOP_SECONDS)
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def sonant(request: pytest.FixtureRequest) -> Iterator[Sonant]:
    """The system that tests share, with `SONANT_TEST_LOG=kafka` on Kafka; those that break it start their own."""
    env = {
        "SONANT_HUME_WEBHOOK_KEYS": ",".join(WEBHOOK_KEYS),
        "SONANT_HUME_ORGANIZATIONS": ",".join(HUME_ORGANIZATIONS),
        # Webhooks go to this machine, and are tried again soon.
        "SONANT_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "SONANT_WEBHOOK_DELAYS": "0.3,0.3,0.3",
        "SONANT_WEBHOOK_SECONDS": "2",
        # Filled by the tests that need models (tests.support.models), and looked at when they are needed.
        "SONANT_MODELS_DIR": str(models_dir()),
    }
    if os.environ.get("SONANT_TEST_LOG") == "kafka":
        env["SONANT_LOG_URL"] = request.getfixturevalue("kafka_url")
    with sonant_system(env=env) as system:
        yield system
