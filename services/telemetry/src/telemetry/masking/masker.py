"""A masker applies the rules of one policy to whatever JSON holds: texts, names and numbers."""

from collections.abc import Callable
from typing import Any

import re2

from common.events.telemetry_policy import MaskingPolicy
from telemetry.masking import builtin_rules
from telemetry.masking.builtin_rules import SECRET_NAMES, Rule

# What the program of one pattern, and the automaton of it, may take.
PATTERN_BYTES = 2 * 1024 * 1024
# Of the search for any of the built-in rules at once.
SEARCH_BYTES = 16 * 1024 * 1024
NUL, REPLACEMENT = "\0", "\ufffd"
# Numbers of cards come as numbers, too.
LEAST_CARD_NUMBER = 10 ** (builtin_rules.MIN_CARD - 1)
MOST_CARD_NUMBER = 10**builtin_rules.MAX_CARD


class BrokenRuleError(Exception):
    """A rule cannot be applied: nothing it was to mask may be stored. The message names the rule and no content."""


def options(bytes: int = PATTERN_BYTES) -> Any:
    """How patterns are compiled: bounded in memory, and without a word on the standard error."""
    chosen = re2.Options()
    chosen.max_mem = bytes
    chosen.log_errors = False
    return chosen


def compiled(pattern: str, name: str, bytes: int = PATTERN_BYTES) -> Any:
    """A pattern of RE2. Raises BrokenRuleError."""
    try:
        found = re2.compile(pattern, options(bytes))
    except re2.error:
        raise BrokenRuleError(f"the rule {name} is no pattern of RE2, or too large") from None
    return found


class Masker:
    """The rules of a policy. Raises BrokenRuleError where one of them cannot be."""

    def __init__(self, policy: MaskingPolicy) -> None:
        rules: list[Rule] = []
        # Keys first: what looks like a number within one is part of it.
        for wanted, group in (
            (policy.keys, builtin_rules.KEYS),
            (policy.email, builtin_rules.EMAIL),
            (policy.card, builtin_rules.CARD),
            (policy.phone, builtin_rules.PHONE),
        ):
            rules += group if wanted else ()
        self._named = policy.keys
        self._card = policy.card
        self._builtin = [_applied(rule, SEARCH_BYTES) for rule in rules]
        # One search tells for nearly every text that none of them applies.
        self._any = _search(rules) if rules else None
        self._which = _set(rules)
        own = (
            Rule(each.name, each.pattern, f"[{each.name}]" if each.replacement is None else each.replacement)
            for each in policy.patterns
        )
        self._own = [_applied(rule) for rule in own]

    def text(self, text: str) -> str:
        """The text with what the rules find replaced, and without the one character no database keeps."""
        if self._any is not None and self._any.search(text):
            # None where the automaton was too large for this text: then all of them are tried.
            for index in sorted(self._which.Match(text)) or range(len(self._builtin)):
                text = self._builtin[index](text)
        for apply in self._own:
            text = apply(text)
        return text.replace(NUL, REPLACEMENT) if NUL in text else text

    def value(self, value: Any) -> Any:
        """The same for a JSON value, however deep."""
        return self._walked(value) if self._may_hold(value) else value

    def _may_hold(self, value: Any) -> bool:
        """Whether anything in it may have to be changed; looks at all its texts at once."""
        if self._own:
            return True
        texts: list[str] = []
        if not self._gather(value, texts):
            return True
        # No rule has a word that goes on over this one.
        joined = "\x1f".join(texts)
        return NUL in joined or (self._any is not None and self._any.search(joined) is not None)

    def _gather(self, value: Any, texts: list[str]) -> bool:
        """All texts in a value; False where something else in it decides."""
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            for name, inner in value.items():
                texts.append(name)
                if (self._named and SECRET_NAMES.match(name)) or not self._gather(inner, texts):
                    return False
        elif isinstance(value, list):
            return all(self._gather(inner, texts) for inner in value)
        elif isinstance(value, (int, float)) and value >= LEAST_CARD_NUMBER:
            return False
        return True

    def _walked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            masked: dict[str, Any] = {}
            for name, inner in value.items():
                secret = self._named and inner is not None and SECRET_NAMES.match(name) is not None
                masked[_free(self.text(name), masked)] = "[secret]" if secret else self._walked(inner)
            return masked
        if isinstance(value, list):
            return [self._walked(inner) for inner in value]
        return "[card]" if self._card and _is_card_number(value) else value


class BrokenMasker(Masker):
    """In the place of a masker whose policy cannot be applied: it lets nothing through."""

    def __init__(self, why: str) -> None:
        super().__init__(MaskingPolicy())
        self._why = why

    def text(self, text: str) -> str:
        raise BrokenRuleError(self._why)

    def value(self, value: Any) -> Any:
        raise BrokenRuleError(self._why)


def _is_card_number(value: Any) -> bool:
    if not isinstance(value, (int, float)) or not LEAST_CARD_NUMBER <= value < MOST_CARD_NUMBER:
        return False
    return builtin_rules.is_card(str(int(value)))


def _free(name: str, taken: dict[str, Any]) -> str:
    """A name that is not taken yet: two that were masked may look the same."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free


def _search(rules: list[Rule]) -> Any:
    together = "|".join(f"(?:{rule.pattern.replace('(?P<keep>', '(?:')})" for rule in rules)
    return re2.compile(together, options(SEARCH_BYTES))


def _set(rules: list[Rule]) -> Any:
    """Tells which of the rules apply to a text."""
    which = re2.Set.SearchSet(options(SEARCH_BYTES))
    for rule in rules:
        which.Add(rule.pattern)
    if rules:
        which.Compile()
    return which


def _applied(rule: Rule, bytes: int = PATTERN_BYTES) -> Callable[[str], str]:
    pattern, check, replacement = compiled(rule.pattern, rule.name, bytes), rule.check, rule.replacement
    keeps = "(?P<keep>" in rule.pattern

    def replaced(found: Any) -> str:
        if check is not None and not check(found.group()):
            return str(found.group())
        return (found.group("keep") if keeps else "") + replacement

    def apply(text: str) -> str:
        try:
            masked: str = pattern.sub(replaced, text)
        except re2.error:
            raise BrokenRuleError(f"the rule {rule.name} failed") from None
        return masked

    return apply
