"""The deployment as data: compose, the image, settings of services and the secrets an operator is given."""

import importlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from common.kernel.settings import CommonSettings
from tests.support.sonant import ROOT

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
