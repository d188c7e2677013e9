"""Masking takes secrets and persons out, leaves everything else as it is, and fails closed."""

import time
from typing import Any

import pytest

from common.events.telemetry_policy import MaskingPolicy, OwnPattern
from telemetry.masking.builtin_rules import is_card
from telemetry.masking.masker import BrokenMasker, BrokenRuleError, Masker

MASKER = Masker(MaskingPolicy())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jane.doe+x@mail.example.com.", "write to [email]."),
        ("über@exämple.de", "[email]"),
        ("card 4242-4242-4242-4242, thanks", "card [card], thanks"),
        ("378282246310005", "[card]"),
        ("call +49 (151) 555-01234 now", "call [phone] now"),
        ("(555) 123-4567 or 555-234-5678", "[phone] or [phone]"),
        ("0151 23456789", "[phone]"),
        ("sk-proj-abcdefghijklmnop1234", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[key]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [token]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "[token]"),
        ("postgres://user:hunter2@db/x", "postgres://user:[password]@db/x"),
        ('{"password": "hunter2!"}', '{"password": "[secret]"}'),
        ("api_key=abcd1234&x=1", "api_key=[secret]&x=1"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- end", "[key] end"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[key]"),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_what_a_rule_finds_is_replaced(text: str, masked: str) -> None:
    assert MASKER.text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-29 17:45:11.123456",
        "1732901234567",
        "018f3c2a-1111-7222-8333-444455556666",
        "4242-4242-4242-4241",
        "SELECT a FROM b WHERE c = 12345678 AND d @> e",
        "192.168.100.200:5432",
        "token_count: 5, prompt_tokens: 11",
        "mail me @home",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert MASKER.text(text) == text


def test_a_value_is_masked_in_its_names_its_numbers_and_however_deep() -> None:
    value = {"a@b.de": {"deep": [["x@y.de"]]}, "c@d.de": 4242424242424242, "password": 5, "count": 12, "none": None}
    assert MASKER.value(value) == {
        "[email]": {"deep": [["[email]"]]},
        "[email] 2": "[card]",
        "password": "[secret]",
        "count": 12,
        "none": None,
    }


def test_what_holds_nothing_is_not_even_copied() -> None:
    value = {"a": ["b", {"c": 1}]}
    assert MASKER.value(value) is value


def test_rules_can_be_switched_off_and_added() -> None:
    own = (OwnPattern(name="bird", pattern="blue[a-z]+"), OwnPattern(name="out", pattern="gone", replacement=""))
    masker = Masker(MaskingPolicy(email=False, phone=False, card=False, keys=False, patterns=own))
    assert masker.value({"x": "a@b.de bluebird gone"}) == {"x": "a@b.de [bird] "}


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "(", "((a{100}){100}){100}"])
def test_a_pattern_that_is_none_breaks_the_masker(pattern: str) -> None:
    with pytest.raises(BrokenRuleError, match="the rule own"):
        Masker(MaskingPolicy(patterns=(OwnPattern(name="own", pattern=pattern),)))


def test_a_broken_masker_lets_nothing_through() -> None:
    broken = BrokenMasker("why")
    for look in (lambda: broken.text("harmless"), lambda: broken.value({})):
        with pytest.raises(BrokenRuleError, match="why"):
            look()


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, "1 " * 500_000, "@." * 500_000, "password=" * 100_000, "+1 " * 300_000]
)
def test_no_text_holds_a_rule_up(text: str) -> None:
    began = time.process_time()
    MASKER.text(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("number", "valid"), [("5555555555554444", True), ("5555555555554445", False), ("42", False)])
def test_the_check_digit_of_a_card_is_checked(number: str, valid: Any) -> None:
    assert is_card(number) is valid
