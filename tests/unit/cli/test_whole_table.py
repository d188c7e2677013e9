"""Tables lose nothing, however narrow the place."""

import pytest
from rich.table import Table

from sonant_cli.whole_table import show

DATE = "2026-01-02 03:04:05"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_is_shown_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    if terminal:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("NO_COLOR", "1")
    words = [f"word{number}" for number in range(40)]
    table = Table("id", "moment", "text", box=None)
    table.add_row("i" * 40, DATE, " ".join(words))
    show(table)
    shown = capsys.readouterr().out
    assert "i" * 40 in shown
    assert DATE in shown
    assert all(word in shown.split() for word in words)
    rows = [line for line in shown.splitlines() if line.strip()]
    assert (len(rows) > 2) == terminal
