"""The deployment holds together: compose, images, settings, metrics, boards and alerts name the same things."""

import asyncio
import importlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from prometheus_client import REGISTRY

from common.bus.port import MAX_RECORD_BYTES, MAX_VALUE_BYTES
from common.docs.sources import METRICS, load
from common.kernel.health import Health, ops_routes
from common.kernel.settings import CommonSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = sorted(folder.name for folder in (ROOT / "services").iterdir() if (folder / "pyproject.toml").exists())
BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
ALERTS = sorted((DEPLOY / "alerts").glob("*.yml"))
# ${NAME}, ${NAME:-default} and ${NAME:?complaint}; innermost first, since a default may hold another.
REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^{}]*))?\}")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH|_KEY$")
# Commits, closes and the exit itself come after the drain.
CLOSING_SECONDS = 10


@cache
def compose_text() -> str:
    return (ROOT / "docker-compose.yml").read_text()


@cache
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(compose_text()))


def containers() -> dict[str, dict[str, Any]]:
    return dict(compose()["services"])


def ours() -> dict[str, dict[str, Any]]:
    return {name: spec for name, spec in containers().items() if "build" in spec}


@cache
def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text()


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"(SONANT_\w+)=(\S+)", dockerfile()))


def module_of(service: str) -> str:
    return service.replace("-", "_")


def settings_of(service: str) -> type[CommonSettings]:
    module = importlib.import_module(f"{module_of(service)}.settings")
    [found] = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, CommonSettings) and item is not CommonSettings
    ]
    return found


def variables_of(settings: type[CommonSettings]) -> set[str]:
    return {f"SONANT_{field.upper()}" for field in settings.model_fields}


def environment_of(service: str) -> dict[str, str | None]:
    return dict(containers()[service].get("environment", {}))


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """What compose makes of `text`.

    Raises:
        KeyError: a required variable has no value.
    """

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if kind == "-":
            return environment.get(name) or rest
        return environment[name]

    while REFERENCE.search(text):
        text = REFERENCE.sub(value, text)
    return text


def strings(node: object) -> Iterator[str]:
    """Every string in a tree of mappings and lists, keys left out."""
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from strings(child)


def names_in_env_example() -> tuple[set[str], set[str]]:
    """The required names (plain lines) and the optional ones (commented out)."""
    text = (ROOT / ".env.example").read_text()
    required = set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))
    return required, set(re.findall(r"^# ([A-Z_]+)=", text, re.MULTILINE))


def init_env(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([DEPLOY / "init-env.sh", *arguments], capture_output=True, text=True, check=False)


def read_env(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A .env as an operator gets it."""
    path = tmp_path_factory.mktemp("env") / ".env"
    assert init_env(str(path)).returncode == 0
    return read_env(path)


class TestSettings:
    def test_compose_runs_every_service_of_the_tree(self) -> None:
        assert set(ours()) == {*SERVICES, "sandbox"}

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_variable_of_compose_is_a_setting_of_that_service(self, service: str) -> None:
        given = {name for name in environment_of(service) if name.startswith("SONANT_")}
        assert given <= variables_of(settings_of(service))

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_required_setting_is_given(self, service: str) -> None:
        settings = settings_of(service)
        required = {f"SONANT_{name.upper()}" for name, field in settings.model_fields.items() if field.is_required()}
        assert required <= {*environment_of(service), *image_environment()}

    @pytest.mark.parametrize("service", SERVICES)
    def test_settings_read_what_compose_says(
        self, service: str, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith("SONANT_")]:
            monkeypatch.delenv(name)
        for name, value in environment_of(service).items():
            if value is not None:
                monkeypatch.setenv(name, interpolate(value, secrets))
        settings = settings_of(service)()
        assert settings.log_url == "kafka://kafka:9092"
        assert settings.redis_url == f"redis://:{secrets['VALKEY_PASSWORD']}@valkey:6379/0"
        assert (settings.ops_host, settings.ops_port) == ("0.0.0.0", 9100)

    def test_the_image_names_settings_that_exist(self) -> None:
        assert set(image_environment()) <= variables_of(settings_of("gateway"))

    def test_instances_are_told_apart_by_their_host_name(self) -> None:
        assert all("SONANT_INSTANCE" not in environment_of(service) for service in SERVICES)
        assert "SONANT_INSTANCE" not in image_environment()

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_drain_may_finish(self, service: str) -> None:
        grace = containers()[service]["stop_grace_period"]
        drain = environment_of(service)["SONANT_DRAIN_SECONDS"]
        assert float(grace.removesuffix("s")) >= float(drain or 0) + CLOSING_SECONDS

    def test_the_largest_request_of_text_fits_into_a_record(self) -> None:
        # Numbers may be written longer than they came; a request that grows too long by that is refused.
        assert settings_of("gateway").model_fields["max_body_bytes"].default < MAX_VALUE_BYTES
        assert int(environment_of("kafka")["KAFKA_MESSAGE_MAX_BYTES"] or 0) >= MAX_RECORD_BYTES

    def test_the_health_check_of_kafka_fits_beside_the_broker(self) -> None:
        check = " ".join(containers()["kafka"]["healthcheck"]["test"])
        heaps = re.findall(r"-Xmx(\d+)m", f"{environment_of('kafka')['KAFKA_HEAP_OPTS']} {check}")
        assert len(heaps) == 2
        limit = containers()["kafka"]["deploy"]["resources"]["limits"]["memory"]
        # What a JVM needs beside its heap: the broker about 250 MB, a check about 80.
        assert sum(map(int, heaps)) + 330 <= 1024 * int(limit.removesuffix("g"))

    def test_topics_come_from_the_declarations_alone(self) -> None:
        assert environment_of("kafka")["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


class TestContainers:
    @pytest.mark.parametrize("name", containers())
    def test_has_a_health_check(self, name: str) -> None:
        check = containers()[name]["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)

    @pytest.mark.parametrize("name", containers())
    def test_is_confined_and_comes_back(self, name: str) -> None:
        spec = containers()[name]
        assert spec["cap_drop"] == ["ALL"]
        assert spec["security_opt"] == ["no-new-privileges:true"]
        assert spec["restart"] == "unless-stopped"
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(spec)

    @pytest.mark.parametrize("name", containers())
    def test_root_file_system_is_read_only_where_the_image_allows(self, name: str) -> None:
        assert containers()[name].get("read_only", False) is (name != "kafka")

    @pytest.mark.parametrize("name", ["valkey", "postgres"])
    def test_images_that_start_as_root_are_given_an_account(self, name: str) -> None:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", containers()[name]["user"])

    @pytest.mark.parametrize("name", containers())
    def test_ports_are_published_on_the_loopback_alone(self, name: str) -> None:
        assert all(str(port).startswith("127.0.0.1:") for port in containers()[name].get("ports", []))

    def test_data_stores_are_off_the_network_with_a_way_out(self) -> None:
        assert compose()["networks"]["engines"]["internal"]
        assert [containers()[name]["networks"] for name in ("valkey", "postgres")] == [["engines"]] * 2

    @pytest.mark.parametrize("name", containers())
    def test_image_is_pinned(self, name: str) -> None:
        tag = containers()[name]["image"].rpartition(":")[2]
        assert re.match(r"v?\d+\.\d+\.\d+", tag), f"{name} runs {tag}"

    def test_kafka_is_the_one_the_tests_run_on(self) -> None:
        [version] = re.findall(r"<kafka.version>([^<]+)<", (DEPLOY / "kafka" / "pom.xml").read_text())
        assert containers()["kafka"]["image"] == f"apache/kafka:{version}"

    @pytest.mark.parametrize("name", containers())
    def test_volumes_are_named_or_files_of_the_tree(self, name: str) -> None:
        for volume in containers()[name].get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose()["volumes"] or (ROOT / source).exists(), volume

    def test_nothing_is_ever_evicted_and_writes_are_kept(self) -> None:
        command = containers()["valkey"]["command"]
        options = dict(zip(command[1::2], command[2::2], strict=True))
        assert (options["--maxmemory-policy"], options["--appendonly"]) == ("noeviction", "yes")


class TestSecrets:
    def test_every_secret_is_required_from_outside(self) -> None:
        for name, spec in containers().items():
            for variable, value in spec.get("environment", {}).items():
                if SECRET_NAME.search(variable):
                    assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable}"

    def test_no_url_or_command_holds_a_password(self) -> None:
        for text in strings(compose()):
            assert not re.search(r"://[^/@\s${]*:[^$@][^@]*@", text), text
        command = containers()["valkey"]["command"]
        assert command[command.index("--requirepass") + 1].startswith("${VALKEY_PASSWORD:?")

    def test_env_example_lists_what_compose_asks_for(self) -> None:
        required, optional = names_in_env_example()
        kinds = [match.groups()[:2] for text in strings(compose()) for match in REFERENCE.finditer(text)]
        nested = [(name, "-") for name in re.findall(r"\$\{(\w+):-", compose_text())]
        unset = {name for service in ours() for name, value in environment_of(service).items() if value is None}
        assert required == {name for name, kind in kinds if kind == "?"}
        assert optional == {name for name, kind in [*kinds, *nested] if kind == "-"} | unset | {"COMPOSE_PROFILES"}

    def test_compose_refuses_to_start_without_them(self) -> None:
        with pytest.raises(KeyError):
            interpolate(environment_of("postgres")["POSTGRES_PASSWORD"] or "", {})

    def test_init_env_makes_a_secret_of_each(self, tmp_path: Path, secrets: dict[str, str]) -> None:
        assert set(secrets) == names_in_env_example()[0]
        path = tmp_path / ".env"
        assert init_env(str(path)).returncode == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        made = [*secrets.values(), *read_env(path).values()]
        assert len(set(made)) == len(made)
        assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in made)

    def test_init_env_never_overwrites(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        path.write_text("mine")
        assert init_env(str(path)).returncode == 1
        assert path.read_text() == "mine"

    def test_init_env_switches_the_sandbox_on(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        init_env("--sandbox", str(path))
        made = read_env(path)
        assert made["COMPOSE_PROFILES"] in containers()["sandbox"]["profiles"]
        command = containers()["sandbox"]["command"]
        assert made["SONANT_SANDBOX_URL"] == f"http://sandbox:{command[command.index('--port') + 1]}"


def write_command(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class TestSetUp:
    """`make` on machines that lack something."""

    @pytest.fixture
    def environment(self, tmp_path: Path) -> Path:
        """What an attempt that failed has left: an interpreter that cannot install anything."""
        made = tmp_path / "venv"
        (made / "bin").mkdir(parents=True)
        write_command(made / "bin" / "python", "exit 1")
        return made

    def refusal(self, environment: Path, interpreter: Path) -> str:
        command = ["make", "-C", str(ROOT), f"VENV={environment}", f"PYTHON={interpreter}", f"{environment}/.runtime"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        return done.stderr

    def test_an_older_python_is_refused_by_its_version(self, tmp_path: Path, environment: Path) -> None:
        older = write_command(tmp_path / "python", '[ "$1" = --version ] && echo Python 3.10.12 || exit 1')
        assert f"needs Python 3.11 or newer; {older} is Python 3.10.12." in self.refusal(environment, older)

    def test_an_environment_that_could_not_be_made_is_not_there_next_time(
        self, tmp_path: Path, environment: Path
    ) -> None:
        halfway = f'[ "$2" = venv ] && mkdir -p "$3/bin" && exit 1\nexec {sys.executable} "$@"'
        assert "python3-venv" in self.refusal(environment, write_command(tmp_path / "python", halfway))
        assert not environment.exists()


class TestImage:
    def test_compose_builds_each_from_the_one_file(self) -> None:
        for name, spec in ours().items():
            assert spec["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile", "args": {"SERVICE": name}}

    def test_every_package_of_the_tree_is_installed(self) -> None:
        [packages] = re.findall(r"^PACKAGES := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(re.findall(r"-e (\S+)", dockerfile())) == set(packages.split())

    @pytest.mark.parametrize("service", SERVICES)
    def test_the_default_command_names_a_module(self, service: str) -> None:
        assert '$(echo \\"$SERVICE\\" | tr - _)' in dockerfile()
        assert (ROOT / "services" / service / "src" / module_of(service)).is_dir()

    def test_runs_without_root_and_stops_on_sigterm(self) -> None:
        assert re.findall(r"^USER (\d+):(\d+)$", dockerfile(), re.MULTILINE) == [("10001", "10001")]
        assert "STOPSIGNAL SIGTERM" in dockerfile()
        assert "HEALTHCHECK" in dockerfile()

    def test_base_and_dependencies_are_pinned(self) -> None:
        assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", dockerfile(), re.MULTILINE)
        assert set(re.findall(r"^FROM (\S+)", dockerfile(), re.MULTILINE)) == {"python:${PYTHON}"}
        assert "--require-hashes" in dockerfile()

    def test_the_context_holds_what_is_copied_and_no_more(self) -> None:
        rules = (ROOT / ".dockerignore").read_text().split("\n")
        assert "*" in rules
        assert "**/.env*" in rules
        copied = re.findall(r"^COPY (?!--from)(\S+)", dockerfile(), re.MULTILINE)
        assert {f"!{source}" for source in copied} == {rule for rule in rules if rule.startswith("!")}

    async def test_health_check_tells_ready_from_unready(self) -> None:
        health = Health()
        app = web.Application()
        app.add_routes(ops_routes(health))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        assert await check_health(port) == 1
        health.state("ready")
        assert await check_health(port) == 0
        await runner.cleanup()
        assert await check_health(port) == 1


async def check_health(port: int) -> int:
    """The exit code of a container's health check for a service whose ops port is `port`."""
    script = DEPLOY / "healthcheck.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        script,
        env={"SERVICE": "gateway", "SONANT_OPS_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    return await process.wait()


def metrics_in_code() -> dict[str, set[str]]:
    """Every name a scrape can show, with its labels."""
    load(METRICS)
    found: dict[str, set[str]] = {"up": set()}
    for collector, names in REGISTRY._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        found |= dict.fromkeys(names, labels)
    return found


# Given by the scrape, by histograms and by Prometheus itself.
COMMON_LABELS = {"job", "instance", "le", "alertname", "alertstate"}
NOT_METRICS = {"ALERTS"}


def check_expression(expression: str) -> None:
    """Fail where a PromQL expression names a metric or label that no process has."""
    known = metrics_in_code()
    bare = re.sub(r'"[^"]*"', "", expression)
    named = set(re.findall(r"\b(?:sonant|process|python)_\w+|\bup\b", bare)) - NOT_METRICS
    assert named or "ALERTS" in bare, f"no metric in {expression}"
    assert named <= set(known), f"unknown metric in {expression}"
    groups = [*re.findall(r"\bby \(([^)]*)\)", bare), *re.findall(r"\{([^}]*)\}", bare)]
    labels = {label for group in groups for label in re.findall(r"[a-z_]+", group)}
    assert labels <= COMMON_LABELS.union(*(known[name] for name in named)), f"unknown label in {expression}"


def rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in ALERTS]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def prometheus() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text()))


class TestObservation:
    def test_prometheus_scrapes_every_instance_of_every_service(self) -> None:
        scraped = {
            (job["job_name"], discovery["names"][0], discovery["type"], discovery["port"])
            for job in prometheus()["scrape_configs"]
            for discovery in job.get("dns_sd_configs", [])
        }
        port = int(image_environment()["SONANT_OPS_PORT"])
        assert scraped == {(name, name, "A", port) for name in SERVICES}

    def test_prometheus_reads_the_rules_where_compose_mounts_them(self) -> None:
        [mounted] = [text for text in containers()["prometheus"]["volumes"] if text.startswith("./deploy/alerts:")]
        assert prometheus()["rule_files"] == [f"{mounted.split(':')[1]}/*.yml"]

    @pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
    def test_an_alert_says_what_and_what_to_do(self, rule: dict[str, Any]) -> None:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
        check_expression(rule["expr"])

    def test_alert_names_are_unique(self) -> None:
        names = [rule["alert"] for rule in rules()]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_a_board_shows_what_the_code_measures(self, path: Path) -> None:
        for panel in panels(path):
            assert panel["targets"], panel["title"]
            for target in panel["targets"]:
                check_expression(target["expr"])

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_a_board_reads_the_provisioned_source(self, path: Path) -> None:
        sources = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
        [source] = yaml.safe_load(sources.read_text())["datasources"]
        assert {panel["datasource"]["uid"] for panel in panels(path)} == {source["uid"]}
        board = json.loads(path.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert board["uid"] == f"sonant-{path.stem}"

    def test_grafana_finds_boards_where_compose_mounts_them(self) -> None:
        file = DEPLOY / "grafana" / "provisioning" / "dashboards" / "sonant.yml"
        [provider] = yaml.safe_load(file.read_text())["providers"]
        mounts = [text.split(":")[:2] for text in containers()["grafana"]["volumes"]]
        assert ["./deploy/grafana/dashboards", provider["options"]["path"]] in mounts
        for part in ("datasources", "dashboards"):
            assert [f"./deploy/grafana/provisioning/{part}", f"/etc/grafana/provisioning/{part}"] in mounts
        home = environment_of("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] or ""
        assert Path(home).parent == Path(provider["options"]["path"])
        assert Path(home).name in {path.name for path in BOARDS}


class TestTools:
    """What only the real tools can tell, where they are installed."""

    def test_promtool_accepts_rules_and_configuration(self) -> None:
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not installed")
        config = DEPLOY / "prometheus" / "prometheus.yml"
        subprocess.run([promtool, "check", "rules", *ALERTS], check=True, capture_output=True)
        subprocess.run([promtool, "check", "config", "--syntax-only", config], check=True, capture_output=True)

    def test_docker_compose_accepts_the_file(self, secrets: dict[str, str]) -> None:
        docker = shutil.which("docker")
        if (
            docker is None
            or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
        ):
            pytest.skip("docker compose is not installed")
        command = [docker, "compose", "--profile", "sandbox", "config", "--quiet"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **secrets}, check=True, capture_output=True)
