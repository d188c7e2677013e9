"""Markdown: its headings, and the text of everything else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from media.retrieval.document_text import Block
from media.retrieval.html_text import text_of_fragment
from media.retrieval.plain_text import text_of


def blocks(path: Path) -> Iterator[Block]:
    """Headings and paragraphs; code and tables are kept as they are written. Raises DocumentUnfit."""
    from markdown_it import MarkdownIt

    source = text_of(path.read_bytes())
    lines = source.split("\n")
    level = 0
    for token in MarkdownIt("commonmark", {"maxNesting": 20}).enable("table").parse(source):
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "inline":
            yield Block(_shown(token), level)
            level = 0
        elif token.type in ("fence", "code_block"):
            yield Block(token.content)
        elif token.type == "html_block":
            yield Block(text_of_fragment(token.content))
        elif token.type == "table_open" and token.map:
            yield Block("\n".join(lines[token.map[0] : token.map[1]]))


def _shown(inline: Any) -> str:
    """What is read of a line: no marks, no targets of links."""
    shown = []
    for token in inline.children or ():
        if token.type in ("softbreak", "hardbreak"):
            shown.append("\n")
        elif token.type == "image" or not token.type.startswith("html"):
            shown.append(token.content)
    return "".join(shown)
