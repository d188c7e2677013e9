"""Which SONANT_* variables are known, and what is said of the others."""

import re
from pathlib import Path

import pytest

from sonant_cli import operator_variables
from sonant_cli.operator_variables import known, refused, unknown
from sonant_cli.table import FILLED

ROOT = Path(__file__).parents[3]
NAMES = re.compile(r"SONANT_[A-Z0-9_]*[A-Z0-9]")
# Of nobody: the beginning of a message, as placeholders.
PLACEHOLDERS = {"SONANT_NAME"}


def names_in(*patterns: str) -> set[str]:
    files = [file for pattern in patterns for file in ROOT.glob(pattern)]
    assert files
    return {name for file in files for name in NAMES.findall(file.read_text())}


def test_every_variable_that_the_code_and_compose_name_is_known() -> None:
    named = names_in("libs/cli/src/**/*.py", "libs/sandbox/src/**/*.py", "docker-compose.yml")
    assert named - PLACEHOLDERS <= known()


def test_what_the_command_line_reads_itself_is_read_somewhere() -> None:
    files = [file for file in ROOT.glob("libs/*/src/**/*.py") if file.name != "operator_variables.py"]
    texts = "".join(file.read_text() for file in files)
    assert {name for name in operator_variables.OWN if f'"{name}"' not in texts} == set()


def test_a_slip_of_the_pen_is_named_with_the_nearest_known_name() -> None:
    told = unknown({"SONANT_CONCURENCY": "1", "SONANT_PORT": "1", "PATH": "x", "SONANT_XYZZY": "1"})
    assert told == [
        "SONANT_CONCURENCY is set, and nothing reads it; is SONANT_CONCURRENCY meant?",
        "SONANT_XYZZY is set, and nothing reads it",
    ]


@pytest.mark.parametrize("where", ["setting", "models file"])
def test_a_variable_that_another_setting_names_is_known(tmp_path: Path, where: str) -> None:
    models = tmp_path / "models.toml"
    models.write_text('key_env = "SONANT_MY_KEY"' if where == "models file" else "")
    naming = {"SONANT_HUME_ORGANIZATIONS": "acme=SONANT_MY_KEY"} if where == "setting" else {}
    given = {"SONANT_MY_KEY": "secret", "SONANT_MODELS_FILE": str(models)}
    assert unknown({**given, **naming}) == []
    assert unknown({"SONANT_MY_KEY": "secret"}) == ["SONANT_MY_KEY is set, and nothing reads it"]


def test_what_is_empty_and_gets_its_value_at_the_start_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict.fromkeys(FILLED, "")
    for name in given:
        monkeypatch.setenv(name, "")
    assert refused(given) == []
    monkeypatch.setenv("SONANT_LOG_URL", "http://log")
    [line] = refused({**given, "SONANT_LOG_URL": "http://log"})
    assert line.startswith("SONANT_LOG_URL: ")
