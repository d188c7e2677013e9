"""Where text may be cut so that another upstream can go on from there."""

import re

# An end mark with its closing quotes, followed by white space; CJK end marks need none; a line break also ends.
# Nothing is gone back over, and no run of marks is looked at from its middle: it costs its length, not its square.
BOUNDARY = re.compile(
    "(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019)\\]]*+\\s++|[\u3002\uff01\uff1f]++[\u300d\u300f\u201d]?+|\n++"
)
# An end mark that white space follows, unless that was cut off.
SENTENCE_END = re.compile("(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019)\\]]*+$")
# Text without any end mark still has to flow: this is about two spoken lines.
MAX_HELD_CHARACTERS = 300
# Where the last boundary nearly always is; and longer than any usual delta with what is held before it.
LOOK_BACK_CHARACTERS = (256, 4096)


def releasable(text: str) -> int:
    """How many characters of held text may go out: up to the last boundary, or 0."""
    end = _last_boundary(text)
    if end or len(text) < MAX_HELD_CHARACTERS:
        return end
    return text.rfind(" ") + 1 or len(text)


def _last_boundary(text: str) -> int:
    """Where the last one ends, or 0. Of a long text only the end is looked at; the rest is cut at a space."""
    end, length = 0, len(text)
    for back in LOOK_BACK_CHARACTERS:
        for match in BOUNDARY.finditer(text, max(0, length - back)):
            end = match.end()
        if end or back >= length:
            break
    return end


class SkipPrefix:
    """Drops what a fallback repeats of the text that was already released.

    A fallback asked to go on may start over. As long as what it says agrees with `released` it is held back;
    once all of that has come again the rest is new, and as soon as it differs everything held was new.
    """

    def __init__(self, released: str) -> None:
        self._expected = released.strip()
        self._gap = released[len(released.rstrip()) :]
        self._held: list[str] = []
        self._agreed = 0  # characters of `expected` that have come again
        self._rest: list[str] = []  # what came behind all of them: white space, as long as nothing is decided
        self._deciding = bool(self._expected)

    def feed(self, text: str) -> str:
        """The new part of `text`; looks at nothing twice, however long the repetition is."""
        if not self._deciding:
            return text
        self._held.append(text)
        if not self._agreed:
            text = text.lstrip()
        compared = text[: len(self._expected) - self._agreed]
        if not self._expected.startswith(compared, self._agreed):
            self._deciding = False
            return self._joined()
        self._agreed += len(compared)
        behind = text[len(compared) :]
        self._rest.append(behind)
        # White space alone does not tell yet where the repetition ends.
        if not behind.strip():
            return ""
        self._deciding = False
        rest = "".join(self._rest)
        return rest.removeprefix(self._gap) if rest.startswith(self._gap) else rest.lstrip()

    def finish(self) -> str:
        """What is still held when the fallback has ended and was not a repetition."""
        if not self._deciding or self._agreed == len(self._expected) or not self._held:
            return ""
        self._deciding = False
        return self._joined()

    def _joined(self) -> str:
        """Models like to begin with a space; where one was released they would make two. Lines keep their indent.

        Where text is cut between tokens the space behind a sentence was not released, and not all models begin with it.
        """
        text = "".join(self._held)
        if self._gap.endswith(" "):
            return text.lstrip(" ")
        wants_space = not self._gap and SENTENCE_END.search(self._expected) and not text[:1].isspace()
        return f" {text}" if wants_space else text
