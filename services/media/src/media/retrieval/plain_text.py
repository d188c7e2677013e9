"""Plain text: its encoding, and its paragraphs."""

import re
from collections.abc import Iterator
from pathlib import Path

from media.retrieval.document_text import Block, DocumentUnfit

PARAGRAPH_END = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
# With more of them it is something else than text in the encoding that was tried.
MAX_CONTROLS = 0.01
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f�]")
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def blocks(path: Path) -> Iterator[Block]:
    """The paragraphs of a text. Raises DocumentUnfit."""
    for paragraph in PARAGRAPH_END.split(text_of(path.read_bytes())):
        yield Block(paragraph)


def text_of(data: bytes) -> str:
    """Bytes as text: what their mark says, UTF-8, or what Windows writes. Raises DocumentUnfit."""
    named = next((name for mark, name in MARKS.items() if data.startswith(mark)), None)
    text = _decoded(data, [named] if named else ["utf-8", "cp1252"])
    if len(CONTROL.findall(text)) > MAX_CONTROLS * len(text):
        raise DocumentUnfit("document_unreadable", "This is no text in any encoding that is known here.")
    return CONTROL.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data: bytes, encodings: list[str]) -> str:
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    # A broken letter here and there keeps nobody from reading the rest.
    return data.decode(encodings[0], errors="replace")
