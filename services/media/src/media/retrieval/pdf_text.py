"""PDF: the text of its pages, as PDFium reads it."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from media.retrieval.document_text import Block, DocumentUnfit
from media.retrieval.plain_text import CONTROL

# A word that was divided at the end of a line.
DIVIDED = re.compile(r"(\w)[\u00ad\ufffe\x02-]\s*\n(?=[a-z])")
PARAGRAPH = re.compile(r"\n\s*\n")


def blocks(path: Path, max_pages: int, max_characters: int) -> Iterator[Block]:
    """The text of each page. Raises DocumentUnfit for what is no PDF, needs a password, or holds pictures alone."""
    pdfium: Any = importlib.import_module("pypdfium2")
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        raise _unreadable(str(error)) from None
    try:
        if len(document) > max_pages:
            raise DocumentUnfit("document_too_long", f"A document has at most {max_pages} pages: divide it.")
        read = 0
        for number in range(len(document)):
            text = _page(pdfium, document, number)
            read += len(text)
            if read > max_characters:
                raise DocumentUnfit("document_too_long", f"A document has at most {max_characters} characters.")
            for paragraph in PARAGRAPH.split(text):
                yield Block(paragraph, page=number + 1)
        if not read:
            raise DocumentUnfit("document_without_text", "There is no text in this PDF: it holds pictures alone.")
    finally:
        document.close()


def _page(pdfium: Any, document: Any, number: int) -> str:
    try:
        text = document[number].get_textpage().get_text_bounded()
    except pdfium.PdfiumError:
        # One broken page does not keep the others from being read.
        return ""
    return CONTROL.sub("", DIVIDED.sub(r"\1", text.replace("\r\n", "\n"))).strip()


def _unreadable(why: str) -> DocumentUnfit:
    if "password" in why.lower():
        return DocumentUnfit("document_locked", "This PDF needs a password.")
    return DocumentUnfit("document_unreadable", "This PDF cannot be read: it is broken, or something else.")
