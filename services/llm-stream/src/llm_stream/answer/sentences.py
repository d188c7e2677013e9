"""Where text may be cut so that another upstream can go on from there."""

import re

# An end mark with its closing quotes, followed by white space; CJK end marks need none; a line break also ends.
BOUNDARY = re.compile("[.!?\u2026]+[\"'\u201d\u2019)\\]]*\\s+|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d]?|\n+")
# An end mark that white space follows, unless that was cut off.
SENTENCE_END = re.compile("[.!?\u2026]+[\"'\u201d\u2019)\\]]*$")
# Text without any end mark still has to flow: this is about two spoken lines.
MAX_HELD_CHARACTERS = 300


def releasable(text: str) -> int:
    """How many characters of held text may go out: up to the last boundary, or 0."""
    end = 0
    for match in BOUNDARY.finditer(text):
        end = match.end()
    if end or len(text) < MAX_HELD_CHARACTERS:
        return end
    return text.rfind(" ") + 1 or len(text)


class SkipPrefix:
    """Drops what a fallback repeats of the text that was already released.

    A fallback asked to go on may start over. As long as what it says agrees with `released` it is held back;
    once all of that has come again the rest is new, and as soon as it differs everything held was new.
    """

    def __init__(self, released: str) -> None:
        self._expected = released.strip()
        self._gap = released[len(released.rstrip()) :]
        self._held = ""
        self._deciding = bool(self._expected)

    def feed(self, text: str) -> str:
        """The new part of `text`."""
        if not self._deciding:
            return text
        self._held += text
        heard = self._held.lstrip()
        if self._expected.startswith(heard):
            return ""
        if not heard.startswith(self._expected):
            self._deciding = False
            return self._joined(self._held)
        rest = heard[len(self._expected) :]
        # White space alone does not tell yet where the repetition ends.
        if not rest.strip():
            return ""
        self._deciding = False
        return rest.removeprefix(self._gap) if rest.startswith(self._gap) else rest.lstrip()

    def finish(self) -> str:
        """What is still held when the fallback has ended and was not a repetition."""
        if not self._deciding or self._held.strip() == self._expected:
            return ""
        self._deciding = False
        return self._joined(self._held)

    def _joined(self, text: str) -> str:
        """Models like to begin with a space; where one was released they would make two. Lines keep their indent.

        Where text is cut between tokens the space behind a sentence was not released, and not all models begin with it.
        """
        if self._gap.endswith(" "):
            return text.lstrip(" ")
        wants_space = not self._gap and SENTENCE_END.search(self._expected) and not text[:1].isspace()
        return f" {text}" if wants_space else text
