"""What kind of document a file is, by its bytes: how it is called counts for little."""

import zipfile
from pathlib import Path

from common.events.documents import DocumentType
from media.retrieval.document_text import DocumentUnfit

HEAD_BYTES = 2048
HTML_BEGINS = (b"<!doctype html", b"<html", b"<head", b"<body")


def type_of(path: Path) -> DocumentType:
    """The type of a file. Raises DocumentUnfit for what is no text."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if b"%PDF-" in head[:1024]:
        return "application/pdf"
    if head.startswith(b"PK"):
        return _of_archive(path)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(HTML_BEGINS) or (start.startswith(b"<?xml") and b"<html" in start):
        return "text/html"
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise unsupported()
    # Plain text reads as Markdown, but for a heading or a list that nobody meant.
    return "text/markdown" if any(line.startswith((b"# ", b"## ", b"### ")) for line in head.splitlines()) else TEXT


TEXT: DocumentType = "text/plain"


def _of_archive(path: Path) -> DocumentType:
    try:
        with zipfile.ZipFile(path) as archive:
            if "word/document.xml" in archive.namelist():
                return "docx"
    except (zipfile.BadZipFile, ValueError, OSError):
        pass
    raise unsupported()


def unsupported() -> DocumentUnfit:
    """It is of no type that is read here."""
    return DocumentUnfit(
        "document_type", "Documents are plain text, Markdown, HTML, PDF and DOCX; this is none of them."
    )
