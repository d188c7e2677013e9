"""A text cut into the pieces that are spoken one by one: whole sentences, as many as fit, in any script."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What one call to a provider speaks: about 25 seconds. Providers take more, but several pieces are made at a time.
MAX_CHARACTERS = 400
# The first piece is short: nothing is heard before it is made.
FIRST_CHARACTERS = 160
# Seconds of quiet between two pieces that were made apart: inside a sentence, between sentences, between paragraphs.
BREATH_PAUSE = 0.08
SENTENCE_PAUSE = 0.25
PARAGRAPH_PAUSE = 0.6

# Marks that end a sentence only before white space, for they also stand in numbers, names and abbreviations; and those
# of scripts that put no space behind them. Closing quotes and brackets belong to the sentence.
_CLOSING = "[\"'\u201d\u2019\u00bb)\\]}\u300d\u300f\uff09\u3011\u300b]*+"
_SPACED = "(?<![.!?\u2026])[.!?\u2026\u203c\u2047-\u2049]++"
_UNSPACED = (
    "[\u3002\uff01\uff1f\uff61\uff0e\u2e3a\u0964\u0965\u061f\u06d4\u1362\u1367\u17d4\u17d5\u104a\u104b\u0f0d\u0f0e"
    "\u1803\u1809\u0589]++"
)
BOUNDARY = re.compile(f"(?P<spaced>{_SPACED}){_CLOSING}(?=\\s|$)|{_UNSPACED}{_CLOSING}|\n+")
# Behind these a dot ends no sentence. Titles and the like: what follows is part of the same thought.
_ABBREVIATIONS = """
mr mrs ms dr prof sr jr st vs etc no nos vol fig figs art sec ch pp ed eds rev gen col sgt capt lt maj gov sen rep hon
inc ltd co corp bros dept est approx ca cf al eg ie e.g i.e a.m p.m u.s u.k u.n d.c ph.d bzw z.b d.h u.a usw nr str hr
fr evtl ggf inkl vgl abs m.e av jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun mme mlle
mm ex env av.j.-c sra srta ud uds dto avda
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
# Before these, where nouns have capitals, a number with a dot is a day.
_MONTHS = "januar februar m\u00e4rz april mai juni juli august september oktober november dezember"
MONTHS = frozenset(_MONTHS.split())
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_LAST_WORD = re.compile(r"[^\W_]+(?:[.'\u2019-][^\W_]+)*$")
# Where a sentence that is too long may be cut, from the best to the worst.
SOFT = (
    re.compile("[;:\u061b\uff1b\uff1a\u2014\u2013]\\s*"),
    re.compile("[,\u060c\u3001\uff0c]\\s*"),
    re.compile(r"\s+"),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a text, and the quiet behind it in seconds (0 behind the last)."""

    text: str
    pause: float


def segments(text: str) -> list[Segment]:
    """The pieces of a text in their order; empty where it says nothing. It costs its length."""
    pieces = list[Segment]()
    for paragraph in re.split(r"\n\s*\n|\r\n\s*\r\n", text):
        of_paragraph = list(_pieces(paragraph, first=not pieces))
        if of_paragraph:
            pieces += of_paragraph[:-1]
            pieces.append(Segment(of_paragraph[-1].text, PARAGRAPH_PAUSE))
    if pieces:
        pieces[-1] = Segment(pieces[-1].text, 0.0)
    return pieces


def speaks(text: str) -> bool:
    """Whether there is anything in it that can be said: a letter or a digit."""
    return any(each.isalnum() for each in text)


def _pieces(paragraph: str, *, first: bool) -> Iterator[Segment]:
    """Sentences put together as far as they fit; what says nothing goes with what stands before it."""
    held, said, pause, limit = "", False, SENTENCE_PAUSE, FIRST_CHARACTERS if first else MAX_CHARACTERS
    for sentence in sentences(paragraph):
        for part, whole in _short(sentence):
            says = speaks(part)
            joined = part if not held else held + _between(held, part) + part
            if len(joined) <= limit or not held:
                held, said = joined, said or says
            elif says:
                if said:
                    yield Segment(held, pause)
                    limit = MAX_CHARACTERS
                held, said = part, True
            # Marks alone, beyond what fits: nothing is lost.
            pause = SENTENCE_PAUSE if whole else BREATH_PAUSE
    if said:
        yield Segment(held, pause)


def _between(one: str, other: str) -> str:
    """What stands between two sentences: a space, but not in scripts that have none."""
    return "" if one[-1] >= "\u2e80" or other[0] >= "\u2e80" else " "


def sentences(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph, with single spaces between their words."""
    begin = 0
    for match in BOUNDARY.finditer(paragraph):
        if match["spaced"] and _goes_on(paragraph, begin, match):
            continue
        if sentence := " ".join(paragraph[begin : match.end()].split()):
            yield sentence
        begin = match.end()
    if rest := " ".join(paragraph[begin:].split()):
        yield rest


def _goes_on(text: str, begin: int, end: re.Match[str]) -> bool:
    """Whether a mark stands inside a sentence: behind an abbreviation, an initial, or a small number."""
    if end["spaced"] != ".":
        return False
    before = _LAST_WORD.search(text, max(begin, end.start() - 40), end.start())
    if before is None:
        return False
    word = before[0]
    following = text[end.end() : end.end() + 40].lstrip()
    if word.lower() in ABBREVIATIONS:
        # "etc." may well end one; then a capital follows, which behind a title proves nothing.
        return not (word.lower() in {"etc", "usw", "a.m", "p.m", "inc", "ltd"} and following[:1].isupper())
    if len(word) == 1 and word.isalpha() and word.isupper():
        return bool(following) and following[:1].isupper()
    # "3. Oktober" is one thought, "in 1990. Then" are two.
    next_word = _FIRST_WORD.match(following)
    is_day = next_word is not None and (next_word[0].islower() or next_word[0].lower() in MONTHS)
    return word.isdigit() and len(word) <= 2 and is_day


def _short(sentence: str) -> Iterator[tuple[str, bool]]:
    """A sentence in parts of at most `MAX_CHARACTERS`, cut where a speaker would breathe; whether it ends with each."""
    while len(sentence) > MAX_CHARACTERS:
        cut = _soft_cut(sentence)
        yield sentence[:cut].rstrip(), False
        sentence = sentence[cut:].lstrip()
    if sentence:
        yield sentence, True


def _soft_cut(sentence: str) -> int:
    """Where to cut: behind the last breath in the second half of what fits, else where it no longer fits."""
    for breath in SOFT:
        cuts = [match.end() for match in breath.finditer(sentence, MAX_CHARACTERS // 2, MAX_CHARACTERS)]
        if cuts:
            return cuts[-1]
    return MAX_CHARACTERS
