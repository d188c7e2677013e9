"""HTML: what a reader sees of it. Scripts, styles and what is hidden are not text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from media.retrieval.document_text import Block, DocumentUnfit

UNSEEN = "script, style, noscript, template, svg, iframe, object, embed, head, nav, footer, form, [hidden]"
MAX_NODES = 2_000_000
HEADINGS = {f"h{level}": level for level in range(1, 7)}
# Whatever else stands in a line of text.
APART = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details", "div", "dl"),
        *("dt", "fieldset", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li"),
        *("legend", "main", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead"),
        *("tr", "ul"),
    }
)


def blocks(path: Path) -> Iterator[Block]:
    """Headings and paragraphs. Raises DocumentUnfit."""
    yield from _blocks_of(path.read_bytes())


def text_of_fragment(html: str) -> str:
    """The text of a piece of HTML, a line for each paragraph."""
    return "\n".join(block.text for block in _blocks_of(html.encode()))


def _blocks_of(data: bytes) -> Iterator[Block]:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(data)
    if tree.root is None or tree.body is None:
        return
    for node in tree.css(UNSEEN):
        if node.tag != "body":
            node.decompose()
    title, level = "", 0
    for tag, text in _texts(tree.body):
        if tag in APART:
            yield from _block(title, level)
            title, level = "", HEADINGS.get(tag, 0)
        title += text
    yield from _block(title, level)


def _block(text: str, level: int) -> Iterator[Block]:
    if shown := " ".join(text.split()):
        yield Block(shown, level)


def _texts(body: Any) -> Iterator[tuple[str, str]]:
    """Where an element begins or ends, with its name, and texts. Without recursion: nobody bounds the depth."""
    node, seen = body.child, 0
    while node is not None:
        if (seen := seen + 1) > MAX_NODES:
            raise DocumentUnfit("document_too_long", f"A page has at most {MAX_NODES} elements.")
        yield (node.tag or "", node.text_content or "") if node.tag == "-text" else (node.tag or "", "")
        if node.child is not None:
            node = node.child
            continue
        while node is not None and node.next is None:
            node = node.parent
            if node is None or node.tag == "body":
                return
            yield "p" if node.tag in APART else "", ""
        node = node.next if node is not None else None
