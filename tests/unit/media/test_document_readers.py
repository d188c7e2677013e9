"""Documents read out of files: their text, their headings, their pages; and what is wrong with others."""

from pathlib import Path

import pytest

from common.events.documents import DocumentType
from media.retrieval.document_text import Block, DocumentText, DocumentUnfit, joined
from media.retrieval.file_types import type_of
from media.retrieval.preparation import Preparation, TextBounds, prepare
from tests.support.document_files import bomb, pdf, word

BOUNDS = TextBounds(pages=20, characters=50_000, chunks=100)
PROSE = "The lamp has a brass foot. Its warranty is thirty months."


def prepared(path: Path, data: bytes, content_type: DocumentType | None = None) -> list[tuple[str, str, int | None]]:
    """Heading, text and page of each chunk."""
    path = path / "document"
    path.write_bytes(data)
    made = prepare(Preparation(path, content_type, "org/default", path, None, BOUNDS))
    return [(each.chunk.heading, each.chunk.text, each.chunk.page) for each in made.chunks]


def reason(path: Path, data: bytes, content_type: DocumentType | None = None) -> str:
    with pytest.raises(DocumentUnfit) as raised:
        prepared(path, data, content_type)
    return raised.value.code


def test_markdown_has_headings_and_no_marks(tmp_path: Path) -> None:
    source = b"# Lamp\n\nA *brass* [foot](https://x.test).\n\n## Care\n\n- dust it\n- dry it\n\n```\nlamp --off\n```\n"
    assert prepared(tmp_path, source) == [
        ("Lamp", "A brass foot.", None),
        ("Lamp > Care", "dust it\n\ndry it\n\nlamp --off", None),
    ]


def test_html_has_what_a_reader_sees(tmp_path: Path) -> None:
    """No script, no style, nothing hidden; whatever the tags are nested in."""
    source = (
        b"<!doctype html><html><head><title>T</title><style>p{}</style></head><body><nav>Home</nav>"
        b"<h1>The <b>lamp</b></h1>"
        b"<script>alert('x')</script><div><p>It is <i>brass</i>.</p><p hidden>secret</p><div><h2>Care</h2>Dust it."
        b"<table><tr><td>Weight</td><td>2 kg</td></tr></table></div></div><footer>imprint</footer></body></html>"
    )
    chunks = prepared(tmp_path, source)
    assert [chunk[0] for chunk in chunks] == ["The lamp", "The lamp > Care"]
    assert chunks[0][1] == "It is brass."
    assert chunks[1][1].split() == ["Dust", "it.", "Weight", "2", "kg"]


def test_a_deep_page_is_read_like_a_flat_one(tmp_path: Path) -> None:
    source = b"<html><body>" + b"<div>" * 20_000 + PROSE.encode()
    assert prepared(tmp_path, source) == [("", PROSE, None)]


def test_a_pdf_knows_its_pages(tmp_path: Path) -> None:
    chunks = prepared(tmp_path, pdf([["The lamp is of brass."], ["Its warranty is (about) thirty months."]]))
    [chunk] = chunks
    assert chunk == ("", "The lamp is of brass.\n\nIts warranty is (about) thirty months.", 1)


def test_a_docx_has_headings_and_tables(tmp_path: Path) -> None:
    made = prepared(tmp_path, word([("Heading 1", "Lamp"), ("Normal", PROSE), ("Heading 2", "Facts")]))
    assert made == [("Lamp", PROSE, None), ("Lamp > Facts", "Weight | two kilograms", None)]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Größe: zwölf".encode(), "Größe: zwölf"),
        ("Größe: zwölf".encode("utf-16"), "Größe: zwölf"),
        ("\ufeffGröße".encode(), "Größe"),
        ("Größe: zwölf".encode("cp1252"), "Größe: zwölf"),
        (b"one\r\ntwo", "one\ntwo"),
    ],
)
def test_text_is_read_in_its_encoding(tmp_path: Path, data: bytes, text: str) -> None:
    assert prepared(tmp_path, data) == [("", text, None)]


def test_what_is_no_document_has_a_reason(tmp_path: Path) -> None:
    assert reason(tmp_path, b"\x7fELF\0\0\0\0") == "document_type"
    assert reason(tmp_path, b"PK\x03\x04 broken") == "document_type"
    assert reason(tmp_path, b"   \n\n ") == "document_without_text"
    assert reason(tmp_path, b"<html><body><script>x</script></body></html>") == "document_without_text"
    assert reason(tmp_path, pdf([[]])) == "document_without_text"
    assert reason(tmp_path, b"%PDF-1.7 nothing else") == "document_unreadable"
    assert reason(tmp_path, pdf([["page"]] * 21)) == "document_too_long"
    assert reason(tmp_path, b"word " * 20_000) == "document_too_long"
    assert reason(tmp_path, bomb(50)) == "document_too_long"
    assert reason(tmp_path, b"\x01\x02\x03\x04" * 100, "text/plain") == "document_unreadable"
    assert reason(tmp_path, b"PK\x03\x04 broken", "docx") == "document_unreadable"


def test_the_type_is_told_by_the_bytes(tmp_path: Path) -> None:
    samples: dict[bytes, DocumentType] = {
        b"plain words": "text/plain",
        b"words\n\n## Heading\n": "text/markdown",
        b"\n <!DOCTYPE html><p>": "text/html",
        pdf([["x"]]): "application/pdf",
        word([("Normal", "x")]): "docx",
    }
    for data, expected in samples.items():
        (tmp_path / "f").write_bytes(data)
        assert type_of(tmp_path / "f") == expected


def test_sections_and_pages_of_a_joined_text() -> None:
    document: DocumentText = joined(
        [Block("A", 1), Block("one", page=1), Block("two", page=2), Block("B", 2), Block(" "), Block("three", page=2)]
    )
    assert document.text == "A\n\none\n\ntwo\n\nB\n\nthree"
    shown = [(document.text[each.start : each.end], each.headings) for each in document.sections]
    assert shown == [("one\n\ntwo", ("A",)), ("three", ("A", "B"))]
    assert [document.page_at(at) for at in (0, 3, 8, 16)] == [None, 1, 2, 2]
