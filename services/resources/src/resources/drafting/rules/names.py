"""What a tool and its properties may be called: plain, and not to be taken for something else."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence

from resources.drafting.rules.reasons import Reason
from resources.drafting.rules.texts import latin

TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{1,63}", re.ASCII)
PROPERTY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
# What the voice provider runs by itself, under these names.
BUILTINS = ("web_search", "hang_up")
# Names that chat APIs give to namespaces, roles and tools of their own.
RESERVED = frozenset(
    {
        "assistant",
        "browser",
        "code_interpreter",
        "developer",
        "file_search",
        "functions",
        "image_generation",
        "multi_tool_use",
        "parallel",
        "python",
        "system",
        "tool",
        "tools",
        "user",
    }
)
# Digits that stand for letters to the eye; `l` and `1` both read as `i` here.
_ALIKE = str.maketrans("013457l", "oieasti")
# One slip of the pen changes a short word into another honest one.
LONG_ENOUGH = 6

# A tool that asks the model to fill these in collects what no tool needs. Each is compared without underscores.
_SECRETS = re.compile(
    r"(?:.*_)?(?:passwords?|passwd|passphrase|api_?keys?|access_?token|auth_?token|secrets?|secret_?key|private_?key"
    r"|ssh_?key|credentials|credit_?card(?:_?number)?|cvv|cvc|ssn|seed_?phrase|pin_?code"
    r"|system_?(?:prompt|message)|(?:chat|conversation|message)_?history|full_?(?:conversation|context|transcript)"
    r"|previous_?messages|hidden_?instructions|chain_of_thought|internal_?(?:notes|reasoning)|sidenotes?)"
)


def tool_name(name: str, taken: Collection[str]) -> Iterator[Reason]:
    """What is wrong with the name of a tool beside the tools `taken`."""
    if not TOOL_NAME.fullmatch(name):
        plain = latin(name).lower()
        looks = not name.isascii() and TOOL_NAME.fullmatch(plain)
        yield Reason("name_lookalike" if looks else "name_grammar", "name")
        name = plain
    if name in RESERVED:
        yield Reason("name_reserved", "name")
    if any(taken_for(name, builtin) for builtin in BUILTINS):
        yield Reason("name_builtin", "name")
    if any(taken_for(name, other) for other in taken):
        yield Reason("name_taken", "name")


def property_name(name: str, where: str) -> Iterator[Reason]:
    """What is wrong with the name of a property."""
    if not PROPERTY_NAME.fullmatch(name):
        yield Reason("property_name", where)
    elif _SECRETS.fullmatch(name.lower()):
        yield Reason("property_secret", where)


def taken_for(name: str, other: str) -> bool:
    """Whether a reader could mix the two up: look-alikes, the same words in another order, one letter apart."""
    ours, theirs = _skeleton(name), _skeleton(other)
    if ours == theirs or sorted(_words(name)) == sorted(_words(other)):
        return True
    return min(len(ours), len(theirs)) >= LONG_ENOUGH and _one_apart(ours, theirs)


def same_word(wanted: str, name: str) -> bool:
    """Whether a property is the one an input was asked for by."""
    return _skeleton(wanted) == _skeleton(name)


def named(wanted: str) -> bool:
    """Whether an input has a name that a property could have; one in another script has not."""
    return bool(_skeleton(wanted))


def _skeleton(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", latin(name)).lower()
    return re.sub(r"[^a-z0-9]", "", decomposed).translate(_ALIKE)


def _words(name: str) -> Sequence[str]:
    return [word for word in name.lower().translate(_ALIKE).split("_") if word]


def _one_apart(one: str, other: str) -> bool:
    """Whether one insertion, deletion, replacement or swap of neighbours leads from one to the other."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if start is None:
        return True
    one, other = one[start:], other[start:]
    swapped = one[1:2] + one[:1] + one[2:]
    return one[1:] == other[1:] or one[1:] == other or one == other[1:] or swapped == other
