"""What tests may import: those of a whole system see it from outside, through what any client or team could use."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sonant import ROOT

SYSTEM = sorted((ROOT / "tests" / "system").rglob("*.py"))
OURS = {"common", "gateway", "llm_stream", "resources", "telemetry", "sandbox", "sonant_cli"}
# Declarations, which other teams install too, the operator's tool, which starts the engines, and the caller, which is a
# client like any voice platform.
FREE = ("common.events", "sonant_cli", "sandbox.caller")
# Who reads facts from the log for them, as other teams may: the bus and what it stands on.
READER = Path("tests/support/log.py")
READING = (*FREE, "common.bus", "common.storage", "common.kernel.settings")


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it that stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names if node.module == "tests.support")


def support_of(path: Path) -> set[Path]:
    """Every file of ours that a test file comes to, itself among them."""
    found, left = set(), [path]
    while left:
        at = left.pop()
        found.add(at)
        files = (ROOT / f"{name.replace('.', '/')}.py" for name in imported(at) if name.startswith("tests."))
        left += [file for file in files if file.exists() and file not in found]
    return found


def forbidden(path: Path) -> list[str]:
    allowed = READING if path.relative_to(ROOT) == READER else FREE
    ours = [name for name in imported(path) if name.partition(".")[0] in OURS]
    return [name for name in ours if not any(f"{name}.".startswith(f"{each}.") for each in allowed)]


@pytest.mark.parametrize("path", SYSTEM, ids=lambda path: path.relative_to(ROOT / "tests" / "system").as_posix())
def test_system_tests_import_nothing_that_serves(path: Path) -> None:
    found = {str(each.relative_to(ROOT)): forbidden(each) for each in support_of(path)}
    assert {name: modules for name, modules in found.items() if modules} == {}


def test_the_check_sees_through_the_support() -> None:
    """It would be worth nothing if it looked at the wrong files."""
    chaos = support_of(ROOT / "tests" / "system" / "test_chaos_gateway.py")
    assert {ROOT / READER, ROOT / "tests/support/load.py", ROOT / "tests/support/sonant.py"} <= chaos
    assert "common.bus.connect" in set(imported(ROOT / READER))
    assert forbidden(ROOT / "tests" / "unit" / "gateway" / "test_openapi.py")
