"""DOCX: its headings, paragraphs and tables."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from media.retrieval.document_text import Block, DocumentUnfit

# Of what is unpacked; a text of this size is a library.
MAX_UNPACKED_BYTES = 200 * 1024 * 1024
MAX_RATIO = 200
SMALL_BYTES = 1024 * 1024
HEADING_STYLE = re.compile(r"heading (\d)", re.IGNORECASE)


def blocks(path: Path) -> Iterator[Block]:
    """Headings, paragraphs, and tables row by row. Raises DocumentUnfit."""
    _check_size(path)
    import docx
    from docx.table import Table

    try:
        content = list(docx.Document(str(path)).iter_inner_content())
    except Exception as error:
        raise DocumentUnfit(
            "document_unreadable", "This DOCX cannot be read: it is broken, or something else."
        ) from error
    for item in content:
        if isinstance(item, Table):
            yield Block("\n".join(_row(row) for row in item.rows))
        else:
            yield Block(item.text, _level(item))


def _row(row: Any) -> str:
    # A merged cell stands once for each column that it covers.
    return " | ".join(dict.fromkeys(cell.text.strip() for cell in row.cells))


def _level(paragraph: Any) -> int:
    name = (paragraph.style.name or "") if paragraph.style is not None else ""
    if name.lower() == "title":
        return 1
    found = HEADING_STYLE.match(name)
    return int(found[1]) if found else 0


def _check_size(path: Path) -> None:
    """A small file may unpack to more than there is memory: what its list says is believed up to the bound alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError):
        raise DocumentUnfit(
            "document_unreadable", "This DOCX cannot be read: it is broken, or something else."
        ) from None
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries) or 1
    if unpacked > MAX_UNPACKED_BYTES or (unpacked > SMALL_BYTES and unpacked / packed > MAX_RATIO):
        raise DocumentUnfit("document_too_long", "What is packed in this DOCX is too large.")
