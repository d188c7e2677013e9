"""Regular expressions in schemas: a plain subset that cannot backtrack for long, and strings that match it.

Allowed are literals, classes, `\\d \\w \\s` and their opposites, anchors, plain groups, alternation and repetition.
Whoever checks arguments against the schema later may do so with a backtracking engine, so a pattern must be harmless on
every input: at most quadratic, decided from its shape alone.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

MAX_PATTERN_CHARS = 200
MAX_GROUPS = 5
# A sample longer than this is no dry run any more.
MAX_SAMPLE_CHARS = 2_000
# From here on a bounded repetition costs as much as an unbounded one.
MANY = 33
# Repetitions that can match the same characters multiply their choices: two endless ones cost quadratic time.
MAX_DEGREE = 2.0

_TOKEN = re.compile(
    r"(?P<anchor>[\^$]|\\[bB])"
    r"|(?P<open>\((?:\?:)?(?!\?))"
    r"|(?P<close>\))"
    r"|(?P<either>\|)"
    r"|(?P<repeat>(?:[*+?]|\{(?P<low>\d{1,4})(?P<comma>,(?P<high>\d{1,4})?)?\})\??)"
    r"|(?P<atom>\\[dDwWsStn]|\\[^\w\s]|\[\^?(?:\\[dDwWsStn]|\\[^\w\s]|[^\[\]\\])+\]|[^\\\[\](){}*+?|^$])"
)
# Python warns that these may change their meaning inside a class.
_SET_OPERATIONS = re.compile(r"\[.*(?:--|&&|~~|\|\|).*\]")
# In the order in which a sample prefers them; a few letters beyond ASCII stand for all the others.
_PROBES = "a1A" + "".join(map(chr, range(33, 127))) + " \t\néЖ漢"


class Unsupported(ValueError):
    """The pattern is outside of the subset."""


@dataclass(slots=True)
class Piece:
    """A class of characters, or a group of alternatives, repeated `low` to `high` times (None: without end)."""

    chars: frozenset[str] = frozenset()
    branches: "list[list[Piece]]" = field(default_factory=list)
    low: int = 1
    high: int | None = 1

    @property
    def varies(self) -> bool:
        return self.low != self.high

    @property
    def degree(self) -> float:
        """The power of the input's length that its choices can cost: 0 where there are none, 1 for an endless one."""
        choices = MANY if self.high is None else self.high - self.low + 1
        return min(1.0, math.log(choices) / math.log(MANY)) if choices > 0 else 0.0

    @property
    def repeats(self) -> bool:
        return self.high is None or self.high > 1


def fault(pattern: str) -> str | None:
    """The code of what is wrong with a pattern: `pattern_unsupported`, `pattern_backtracks`, or None."""
    try:
        branches = parse(pattern)
    except Unsupported:
        return "pattern_unsupported"
    repeated = [piece for piece in _groups(branches) if piece.repeats]
    if not all(_deterministic(piece) for piece in repeated):
        return "pattern_backtracks"
    return "pattern_backtracks" if _overlapping(list(_chain(branches, must=True))) else None


def sample(pattern: str, length: int = 0) -> str:
    """A string that matches, of at least `length` characters where a repetition allows it. Raises Unsupported."""
    text = _write(parse(pattern)[0], length)
    if len(text) > MAX_SAMPLE_CHARS:
        raise Unsupported(pattern)
    return text


@lru_cache(maxsize=256)
def parse(pattern: str) -> list[list[Piece]]:
    """The alternatives of a pattern. Raises Unsupported."""
    if len(pattern) > MAX_PATTERN_CHARS or _SET_OPERATIONS.search(pattern):
        raise Unsupported(pattern)
    tokens = list(_tokens(pattern))
    try:
        re.compile(pattern)
    except (re.error, OverflowError):
        raise Unsupported(pattern) from None
    # One entry per open group: its alternatives so far, the last of them still growing.
    open_groups: list[list[list[Piece]]] = [[[]]]
    for token in tokens:
        _take(token, open_groups)
    if len(open_groups) != 1:
        raise Unsupported(pattern)
    return open_groups[0]


def _tokens(pattern: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None:
            raise Unsupported(pattern)
        yield token
        position = token.end()


def _take(token: re.Match[str], open_groups: list[list[list[Piece]]]) -> None:
    branch = open_groups[-1][-1]
    if token["atom"]:
        branch.append(Piece(_chars(token["atom"])))
    elif token["open"]:
        if len(open_groups) > MAX_GROUPS:
            raise Unsupported(token.string)
        open_groups.append([[]])
    elif token["close"]:
        closed = open_groups.pop()
        open_groups[-1][-1].append(Piece(branches=closed))
    elif token["either"]:
        open_groups[-1].append([])
    elif token["repeat"]:
        branch[-1].low, branch[-1].high = _bounds(token)


def _bounds(token: re.Match[str]) -> tuple[int, int | None]:
    sign = token["repeat"][0]
    if sign != "{":
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    low = int(token["low"])
    if not token["comma"]:
        return low, low
    return low, int(token["high"]) if token["high"] else None


@lru_cache(maxsize=1_024)
def _chars(atom: str) -> frozenset[str]:
    matches = re.compile(atom).fullmatch
    return frozenset(char for char in _PROBES if matches(char))


def _groups(branches: Sequence[Sequence[Piece]]) -> Iterator[Piece]:
    for piece in (piece for branch in branches for piece in branch if piece.branches):
        yield piece
        yield from _groups(piece.branches)


def _deterministic(group: Piece) -> bool:
    """Whether one character always tells which way a repeated group goes: then there is nothing to go back to."""
    firsts: set[str] = set()
    for branch in group.branches:
        if not branch or any(piece.branches for piece in branch) or branch[0].low < 1:
            return False
        if firsts & branch[0].chars or not _separated(branch):
            return False
        firsts |= branch[0].chars
    return True


def _separated(branch: Sequence[Piece]) -> bool:
    """No repetition of varying length, or a first character that appears nowhere else in the branch."""
    if not any(piece.varies for piece in branch):
        return True
    first, *rest = branch
    return not first.varies and not any(first.chars & piece.chars for piece in rest)


# The characters of a piece, the degree of its choices, and whether it must be there.
Link = tuple[frozenset[str], float, bool]


def _chain(branches: Sequence[Sequence[Piece]], *, must: bool) -> Iterator[Link]:
    """Everything that can follow one another, alternatives as if they stood in a row."""
    needed = must and len(branches) == 1
    for piece in (piece for branch in branches for piece in branch):
        if not piece.branches:
            yield piece.chars, piece.degree, needed and piece.low > 0
        elif piece.repeats:
            inner: frozenset[str] = frozenset().union(*(chars for chars, _, _ in _chain(piece.branches, must=True)))
            yield inner, piece.degree, False
        else:
            yield from _chain(piece.branches, must=needed and piece.low > 0)


def _overlapping(chain: Sequence[Link]) -> bool:
    starts = [index for index, (_, degree, _) in enumerate(chain) if degree]
    return any(_degree(chain[index:]) > MAX_DEGREE for index in starts)


def _degree(chain: Sequence[Link]) -> float:
    """What the repetitions cost that can share a run of the characters of the first."""
    shared, total, _ = chain[0]
    for chars, degree, must in chain[1:]:
        if degree and shared & chars:
            shared, total = shared & chars, total + degree
        elif must and not shared & chars:
            break
    return total


def _write(branch: Sequence[Piece], length: int) -> str:
    shortest = [_once(piece) * piece.low for piece in branch]
    missing = length - sum(map(len, shortest))
    for index, piece in enumerate(branch):
        one = _once(piece)
        if missing > 0 and one and piece.varies:
            room = missing if piece.high is None else piece.high - piece.low
            times = min(room, -(-missing // len(one)))
            shortest[index] += one * times
            missing -= times * len(one)
    return "".join(shortest)


def _once(piece: Piece) -> str:
    if piece.branches:
        return _write(piece.branches[0], 0)
    return next((char for char in _PROBES if char in piece.chars), "")
