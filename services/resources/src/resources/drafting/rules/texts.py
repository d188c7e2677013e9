"""What no text of a tool may hold: instructions to the model that reads it, and ways to hide them.

A bounded list, not a proof: it stops the known styles, in English and the commonest phrases of some other languages,
and is kept narrow enough to let honest descriptions through ("Forward the call to a human agent"). A tool that passes
is still quarantined until a person promotes it.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterator

from resources.drafting.rules.phrases import PHRASES
from resources.drafting.rules.reasons import Reason

# Longest text of one property.
MAX_LINE = 500

# Letters that look like Latin ones: Cyrillic, Greek, Armenian ones and phonetic signs. Full-width and mathematical
# letters are folded by Unicode normalisation itself.
_CONFUSABLE = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеорсухіјѕԁһӏԛԝвмнткԍҮү" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαεικνορτυχγ" + "ոսօցհԼ" + "ıɑɡɩʟᴀ",
    "ABESIJKMHOPCTYXaeopcyxijsdhlqwbmhtkgYy" + "ABEZHIKMNOPTYXaeiknoptuxy" + "nuogHL" + "iagilA",
)
_LOOKS_LATIN = "".join(map(chr, _CONFUSABLE))
_MIXED = re.compile(rf"[A-Za-z][\w]*[{_LOOKS_LATIN}]|[{_LOOKS_LATIN}][\w]*[A-Za-z]")

# U+2028 and U+2029 end a line for some readers only; U+E0000 to U+E007F repeat ASCII without showing.
_BIDI = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile(
    r"[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2028\u2029\u2060-\u2065\u206a-\u206f\u2800\u3164"
    r"\ufeff\uffa0\ufff0-\ufffb\ue000-\uf8ff\U0001d173-\U0001d17a\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
    # One variation selector chooses an emoji; a run of them encodes bytes. A pile of accents hides what is below.
    r"|[\ufe00-\ufe0f]{2}|[\u0300-\u036f\u0489]{5}"
)

_COMPILED = {code: re.compile("|".join(options)) for code, options in PHRASES.items()}
# What encoded text turns out to say is searched for these alone: they cannot come about by chance.
_TELLING = ("hidden_command", "hidden_override", "hidden_persona", "hidden_prompt", "hidden_secrecy", "hidden_secret")

_ENCODED = re.compile(
    # A run without a space that mixes cases and digits, as Base64 does, or is all hexadecimal.
    r"(?=[A-Za-z0-9+/_-]*[a-z])(?=[A-Za-z0-9+/_-]*[A-Z])(?=[A-Za-z0-9+/_-]*[0-9])[A-Za-z0-9+/_-]{32,200}={0,2}"
    r"|\b[0-9a-fA-F]{40,}\b|(?:%[0-9a-fA-F]{2}){3}|(?:\\u[0-9a-fA-F]{4}){2}|(?:\\x[0-9a-fA-F]{2}){3}"
    r"|(?:[01]{8} ?){4}|(?:[.-]{1,6} ){8}|(?:\b[0-9a-f]{2} ){10}"
)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,200}={1,2}")
# "i g n o r e", "i-g-n-o-r-e": letters with one separator between them.
_SPACED = re.compile(r"\b(?:\w[ ._*\-]){5,}\w\b")
# The spaces between words go with those inside of them.
_RUN_TOGETHER = re.compile(r"ignore\w{0,12}(?:instructions|rules|prompt)|systemprompt|youarenow")
_LEET = str.maketrans("013457@$", "oieastas")
_PLAIN = re.compile(r"[A-Za-z0-9_$\[\]]{1,64}")
_SPACES = re.compile(r"[^\S\n]+")


def latin(text: str) -> str:
    """The text with compatible forms and look-alikes replaced by the letters they stand for, without accents."""
    decomposed = unicodedata.normalize("NFKD", text).translate(_CONFUSABLE)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def faults(text: str) -> Iterator[str]:
    """The codes of everything a text holds that it may not, each once."""
    yield from _characters(text)
    folded = _folded(text)
    # Phrases of other alphabets do not survive the folding; a sentence may go on in the next line.
    readings = dict.fromkeys((folded, text.lower(), " ".join(folded.split())))
    yield from (code for code, pattern in _COMPILED.items() if any(map(pattern.search, readings)))
    disguised = not _says(folded) and any(map(_says, _deciphered(folded)))
    if disguised or _ENCODED.search(text) or _BASE64.search(text):
        yield "text_encoded"


def identifier_faults(name: str) -> Iterator[str]:
    """The same for a name, whose words are read as a sentence."""
    sentence = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-]+", " ", name).lower()
    yield from (code for code in _TELLING if _COMPILED[code].search(sentence))


def joined(where: str, part: str) -> str:
    """The path one step deeper; a name that is none, or reads as an instruction, is left out of it."""
    shown = _PLAIN.fullmatch(part) and not any(identifier_faults(part))
    return f"{where}.{part if shown else '?'}"


def judged(text: str, where: str, *, longest: int) -> Iterator[Reason]:
    """Everything wrong with a text of a draft. One that is too long is not read any further."""
    if len(text) > longest:
        yield Reason("text_too_long", where)
    else:
        yield from (Reason(code, where) for code in faults(text))


def _characters(text: str) -> Iterator[str]:
    if any(unicodedata.category(char) in ("Cc", "Cs", "Cn") and char not in "\n\t" for char in text):
        yield "text_control"
    if _BIDI.search(text):
        yield "text_bidi"
    if _INVISIBLE.search(text):
        yield "text_invisible"
    if _MIXED.search(text):
        yield "text_mixed_scripts"


def _folded(text: str) -> str:
    """Lower case, look-alikes replaced, what does not show removed, one space between words."""
    shown = _INVISIBLE.sub("", _BIDI.sub("", text))
    return _SPACES.sub(" ", latin(shown)).replace("\u2019", "'").lower()


def telling_faults(text: str) -> Iterator[str]:
    """The codes of what nobody says by chance."""
    folded = _folded(text)
    yield from (code for code in _TELLING if _COMPILED[code].search(folded))


def _deciphered(folded: str) -> Iterator[str]:
    """What a text may stand for; a reading that is the text itself is left out."""
    squeezed = _SPACED.sub(lambda match: re.sub(r"[ ._*\-]", "", match[0]), folded)
    readings = dict.fromkeys((squeezed, folded.translate(_LEET), re.sub(r"[_*/.\-]+", " ", folded)))
    yield from (reading for reading in readings if reading != folded)
    yield codecs.encode(folded, "rot13")
    yield folded[::-1]


def _says(text: str) -> bool:
    return _RUN_TOGETHER.search(text) is not None or any(_COMPILED[code].search(text) for code in _TELLING)
