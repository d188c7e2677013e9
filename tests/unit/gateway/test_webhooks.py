"""What makes a webhook genuine, and what makes two deliveries the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import Refused
from gateway.webhooks.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, WINDOW_SECONDS, sign, verify
from gateway.webhooks.webhook_delivery import read_delivery

KEY = "test-signing-key"
BODY = b'{"event_name":"chat_started","chat_id":"c1"}'
STAMP = "1716244940"
SIGNATURE = "74dcb4c21d5e9b14be14967196c9eb5baa69452a19c217175c5050d0d8d382c1"
NOW = float(STAMP)


def signed(body: bytes = BODY, stamp: str = STAMP, key: str = KEY) -> dict[str, str]:
    return {SIGNATURE_HEADER: sign(key, body, stamp), TIMESTAMP_HEADER: stamp}


def code_of(keys: list[str], body: bytes, headers: dict[str, str], now: float = NOW) -> str | None:
    try:
        verify(keys, body, headers, now)
    except Refused as error:
        return error.code if error.status == 401 else f"status {error.status}"
    return None


def test_the_signature_is_that_of_the_provider() -> None:
    assert sign(KEY, BODY, STAMP) == SIGNATURE
    verify([KEY], BODY, signed(), NOW)


def test_any_of_several_keys_may_sign() -> None:
    verify(["new", KEY, "old"], BODY, signed(), NOW)
    assert code_of(["new", "old"], BODY, signed()) == "invalid_signature"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({SIGNATURE_HEADER: ""}, "missing_signature"),
        ({SIGNATURE_HEADER: SIGNATURE.upper()}, "missing_signature"),
        ({SIGNATURE_HEADER: SIGNATURE[:-1]}, "missing_signature"),
        ({SIGNATURE_HEADER: "é" * 64}, "missing_signature"),
        ({SIGNATURE_HEADER: "0" * 64}, "invalid_signature"),
        ({TIMESTAMP_HEADER: ""}, "missing_signature"),
        ({TIMESTAMP_HEADER: "-1716244940"}, "missing_signature"),
        ({TIMESTAMP_HEADER: "1716244940.0"}, "missing_signature"),
        ({TIMESTAMP_HEADER: "١٧١٦٢٤٤٩٤٠"}, "missing_signature"),
        ({TIMESTAMP_HEADER: "1" * 400}, "missing_signature"),
        ({TIMESTAMP_HEADER: "1716244941"}, "invalid_signature"),
    ],
)
def test_a_webhook_without_a_good_signature_is_refused(change: dict[str, str], code: str) -> None:
    assert code_of([KEY], BODY, {**signed(), **change}) == code


@pytest.mark.parametrize("off", [-1, 1])
def test_the_window_is_open_both_ways_and_no_further(off: int) -> None:
    assert code_of([KEY], BODY, signed(), NOW + off * WINDOW_SECONDS) is None
    assert code_of([KEY], BODY, signed(), NOW + off * (WINDOW_SECONDS + 1)) == "stale_signature"


@given(st.binary(max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_no_byte_can_be_changed(body: bytes, at: int, by: int) -> None:
    other = bytearray(body or b"x")
    other[at % len(other)] ^= by
    assert code_of([KEY], bytes(other), signed(body or b"x")) == "invalid_signature"


def test_an_event_is_known_by_what_it_is_about() -> None:
    started = read_delivery(BODY)
    assert (started.key, started.known) == ("chat_started:c1", True)
    call = read_delivery(
        b'{"event_name": "tool_call", "chat_id": "c1", "tool_call_message": {"tool_call_id": "t1", "name": "x"}}'
    )
    assert call.key == "tool_call:t1"
    unnamed = [
        read_delivery(b'{"event_name": "tool_call", "chat_id": "c1", "n": %d}' % number).key for number in (1, 2)
    ]
    assert unnamed[0] != unnamed[1]


def test_an_unknown_event_is_read_and_told_apart_by_its_bytes() -> None:
    for chat in (b"", b', "chat_id": "c1"'):
        bodies = [b'{"event_name": "new", "a": %d%s}' % (number, chat) for number in (1, 2, 2)]
        first, second, again = map(read_delivery, bodies)
        assert (first.known, first.key == second.key) == (False, False)
        assert again.key == second.key
    odd = read_delivery(b'{"event_name": "tool_call", "tool_call_message": [1], "chat_id": 5}')
    assert odd.known
    assert odd.key.startswith("tool_call:")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"nothing",
        b"{}",
        b'{"event_name": 5}',
        b'{"event_name": ""}',
        b'{"event_name": "e", "a": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_what_is_no_event_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_delivery(raw)
    assert refused.value.status == 400
