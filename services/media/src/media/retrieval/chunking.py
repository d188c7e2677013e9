"""A text in chunks: along its headings and sentences, with a little overlap, none longer than a model reads."""

import itertools
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from media.retrieval.document_text import DocumentText, Section

# The models read 256 tokens: these, the headings, and two tokens of the models' own.
CHUNK_TOKENS = 208
HEADING_TOKENS = 44
# What two neighbours share, so that a sentence is found with the one before it.
OVERLAP_TOKENS = 32
HEADING_JOINT = " > "
# After the end of a sentence, or of a line.
SENTENCE_END = re.compile("""(?<=[.!?\u2026\u3002\uff01\uff1f])["'\u00bb\u201d\u2019)\\]]*\\s+|\\s*\\n\\s*""")

TokenStarts = Callable[[str], Sequence[int]]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: its characters `start` to `end`, and the headings above it."""

    text: str
    start: int
    end: int
    heading: str
    page: int | None

    @property
    def searched(self) -> str:
        """What is searched: the headings, and the text under them."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def chunks_of(document: DocumentText, token_starts: TokenStarts) -> list[Chunk]:
    """The chunks of a document. `token_starts` gives the characters at which the tokens of a text begin."""
    starts = token_starts(document.text)

    def tokens(span: Span) -> int:
        return bisect_left(starts, span[1]) - bisect_left(starts, span[0])

    found = []
    for section in document.sections:
        heading = _shown(section.headings, token_starts)
        for start, end in _packed(list(_units(document.text, section, starts)), tokens):
            found.append(Chunk(document.text[start:end], start, end, heading, document.page_at(start)))
    return found


def _units(text: str, section: Section, starts: Sequence[int]) -> Iterator[Span]:
    """Sentences; one that is longer than a chunk comes in pieces."""
    at = section.start
    ends = [match.span() for match in SENTENCE_END.finditer(text, section.start, section.end)]
    for end, following in [*ends, (section.end, section.end)]:
        if text[at:end].strip():
            yield from _short((at, end), starts)
        at = following


def _short(span: Span, starts: Sequence[int]) -> Iterator[Span]:
    first, behind = bisect_left(starts, span[0]), bisect_left(starts, span[1])
    if behind - first <= CHUNK_TOKENS:
        yield span
        return
    cuts = [span[0], *(starts[at] for at in range(first + CHUNK_TOKENS, behind, CHUNK_TOKENS)), span[1]]
    yield from itertools.pairwise(cuts)


def _packed(units: Sequence[Span], tokens: Callable[[Span], int]) -> Iterator[Span]:
    """As many neighbours together as fit; the next chunk begins with the end of the last one."""
    first = 0
    while first < len(units):
        behind, used = first, 0
        while behind < len(units) and (used := used + tokens(units[behind])) <= CHUNK_TOKENS:
            behind += 1
        behind = max(behind, first + 1)
        yield units[first][0], units[behind - 1][1]
        if behind == len(units):
            return
        first = _with_overlap(units, first, behind, tokens)


def _with_overlap(units: Sequence[Span], first: int, behind: int, tokens: Callable[[Span], int]) -> int:
    """Where the next chunk begins: some of the last sentences back, and always further than this one began."""
    room = min(OVERLAP_TOKENS, CHUNK_TOKENS - tokens(units[behind]))
    begin = behind
    while begin - 1 > first and (room := room - tokens(units[begin - 1])) >= 0:
        begin -= 1
    return begin


def _shown(headings: Sequence[str], token_starts: TokenStarts) -> str:
    """The headings in one line: the innermost ones, as many as there is room for."""
    shown = ""
    for title in reversed(headings):
        longer = f"{title}{HEADING_JOINT}{shown}" if shown else title
        starts = token_starts(longer)
        if len(starts) > HEADING_TOKENS:
            return shown or longer[: starts[HEADING_TOKENS]].rstrip()
        shown = longer
    return shown
