"""The text of a document, with what its structure says: which headings stand where, and which pages."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

BREAK = "\n\n"


class DocumentUnfit(Exception):
    """Nothing can be made of the file; `code` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, or a heading where `level` is above 0. `page` counts from 1 where the file has pages."""

    text: str
    level: int = 0
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under the same headings: characters `start` to `end` of the text."""

    start: int
    end: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentText:
    """The text as a whole. `pages` has the character at which each page begins, and its number."""

    text: str
    sections: tuple[Section, ...]
    pages: tuple[tuple[int, int], ...] = ()

    def page_at(self, at: int) -> int | None:
        """The page on which a character stands."""
        found = bisect_right(self.pages, at, key=lambda page: page[0])
        return self.pages[found - 1][1] if found else None


def joined(blocks: Iterable[Block]) -> DocumentText:
    """Blocks as one text, with an empty line between them. Headings are part of it, and of no section."""
    parts: list[str] = []
    sections: list[Section] = []
    pages: list[tuple[int, int]] = []
    path: list[tuple[int, str]] = []
    at = 0
    open_section = False
    for block in blocks:
        if not (text := block.text.strip()):
            continue
        if block.page is not None and (not pages or pages[-1][1] != block.page):
            pages.append((at, block.page))
        if block.level:
            path = [each for each in path if each[0] < block.level]
            path.append((block.level, " ".join(text.split())))
            open_section = False
        elif open_section:
            sections[-1] = Section(sections[-1].start, at + len(text), sections[-1].headings)
        else:
            sections.append(Section(at, at + len(text), tuple(title for _, title in path)))
            open_section = True
        parts.append(text)
        at += len(text) + len(BREAK)
    return DocumentText(BREAK.join(parts), tuple(sections), tuple(pages))
