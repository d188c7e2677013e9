"""Tables in Markdown."""

from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `make generate`; edit the declarations instead. -->"


def page(title: str, intro: str, *parts: str) -> str:
    """A whole document, ending with a newline."""
    return "\n\n".join([GENERATED, f"# {title}", intro, *parts]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells may hold anything but line breaks."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Text set as code; nothing for no text."""
    return f"`{text}`" if text else ""
