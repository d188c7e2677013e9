"""Tables in which nothing is cut off: what is shown is read on, and copied into other commands."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

# Of the last column, which is mostly prose and may be folded on a terminal.
LAST_WIDTH = 24
ENDLESS = 100_000


def show(table: Table) -> None:
    """Print the table; on a terminal its last column is folded, elsewhere each row is one line."""
    console = Console()
    widest = console.options.update(max_width=ENDLESS)
    natural = Measurement.get(console, widest, table).maximum
    *others, last = table.columns
    for column in others:
        column.no_wrap = True
    last.overflow = "fold"
    if console.is_terminal:
        spare = _width(console, last) - LAST_WIDTH
        # The terminal itself wraps what is wider than it.
        console.width = max(console.width, natural - max(0, spare))
    else:
        console.width = max(console.width, natural)
    console.print(table)


def _width(console: Console, column: Column) -> int:
    cells = [column.header, *column.cells]
    widest = console.options.update(max_width=ENDLESS)
    return max(Measurement.get(console, widest, cell).maximum for cell in cells)
