"""The built-in rules: e-mail addresses, phone numbers, payment cards, keys and tokens."""

import re
from collections.abc import Callable
from typing import NamedTuple

Check = Callable[[str], bool]


class Rule(NamedTuple):
    """A pattern of RE2 and what stands in its place; `check` looks closer at what was found.

    Where the pattern has a group `keep`, that stays in front.
    """

    name: str
    pattern: str
    replacement: str
    check: Check | None = None


NOT_DIGITS = re.compile(r"\D")
MIN_CARD, MAX_CARD = 13, 19
MIN_PHONE = 7


def digits(text: str) -> str:
    """The digits in a text."""
    return NOT_DIGITS.sub("", text)


def is_card(text: str) -> bool:
    """Whether the digits of a text are a card number: of an issuer, and with a correct check digit (ISO/IEC 7812)."""
    number = digits(text)
    if not MIN_CARD <= len(number) <= MAX_CARD or number[0] not in "23456":
        return False
    doubled = [int(digit) * 2 for digit in number[-2::-2]]
    return (sum(map(int, number[-1::-2])) + sum(each - 9 if each > 9 else each for each in doubled)) % 10 == 0


def is_phone(text: str) -> bool:
    """Whether a text has at least the digits of a phone number (ITU-T E.164); what stands behind one goes with it."""
    return len(digits(text)) >= MIN_PHONE


EMAIL = (Rule("email", r"[\p{L}\p{N}._%+\-]+@(?:[\p{L}\p{N}\-]+\.)+\p{L}\p{L}+", "[email]"),)
PHONE = (
    Rule("phone", r"\+[1-9][0-9]{0,2}(?:[ ./\-]?\(?[0-9]{1,6}\)?){2,7}\b", "[phone]", is_phone),
    Rule("phone", r"\b00[1-9][0-9]{7,13}\b", "[phone]"),
    Rule("phone", r"\([0-9]{3}\) ?[0-9]{3}[ .\-][0-9]{4}\b", "[phone]"),
    Rule("phone", r"\b[2-9][0-9]{2}([.\- ])[2-9][0-9]{2}[.\- ][0-9]{4}\b", "[phone]"),
    Rule("phone", r"\b0[1-9][0-9]{1,4}[ /\-][0-9]{4,9}\b", "[phone]"),
)
CARD = (Rule("card", r"\b[2-6](?:[ \-]?[0-9]){12,18}\b", "[card]", is_card),)
# Prefixes that their issuers publish, so that leaked keys are found; JSON Web Tokens (RFC 7519), PEM (RFC 7468),
# passwords in addresses (RFC 3986), and what stands behind a telling name.
KEYS = (
    Rule("keys", r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.)*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", "[key]"),
    Rule("keys", r"\b(?:sk|pk|rk)[-_][A-Za-z0-9][A-Za-z0-9_\-]{14,}", "[key]"),
    Rule("keys", r"\b(?:AKIA|ASIA|AGPA|AROA|AIDA)[0-9A-Z]{16}\b", "[key]"),
    Rule("keys", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,})", "[key]"),
    Rule("keys", r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,}", "[key]"),
    Rule("keys", r"\bAIza[0-9A-Za-z_\-]{30,}", "[key]"),
    Rule("keys", r"\b(?:hf_|npm_|pypi-|SG\.|shpat_|dop_v1_|whsec_)[A-Za-z0-9_.\-]{16,}", "[key]"),
    Rule("keys", r"\beyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]*", "[token]"),
    Rule("keys", r"(?i)(?P<keep>\b(?:bearer|basic) +)[A-Za-z0-9._~+/=\-]{8,}", "[token]"),
    Rule("keys", r"(?P<keep>[a-z][a-z0-9+.\-]+://[^/\s:@]*:)[^/\s@]+@", "[password]@"),
    Rule(
        "keys",
        r"(?i)(?P<keep>\b(?:password|passwd|pwd|secret|client[_\-]?secret|api[_\-]?key|access[_\-]?key|access[_\-]?token"
        r"|auth[_\-]?token|private[_\-]?key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)[^\s\"',;&]{4,}",
        "[secret]",
    ),
)
# A value under such a name is a secret whatever it looks like.
SECRET_NAMES = re.compile(
    r"(?i)^(?:.*[_\-])?(?:password|passwd|pwd|secret|api[_\-]?key|apikey|access[_\-]?key|access[_\-]?token|auth[_\-]?token"
    r"|refresh[_\-]?token|private[_\-]?key|authorization|cookie|set-cookie)$"
)
