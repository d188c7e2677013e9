"""The weight of a record in hand is at least the memory that it takes once it is parsed."""

import tracemalloc

import pytest

from common.events.chat import CHAT_REPLY_REQUESTED, ChatReplyRequested
from common.events.model_json import from_json, to_json
from common.events.record import Partition, Received
from common.events.registry import EVENTS
from common.kernel.weight import weigh

SIZE = 256 * 1024
SHAPES = {
    "one text": ["a" * SIZE],
    "one character beyond Latin-1": ["a" * SIZE + "😀"],
    "accents": ["é" * (SIZE // 2)],
    "short texts": ["ab"] * (SIZE // 5),
    "digits": [1] * (SIZE // 2),
    "numbers": [300 + n % 600 for n in range(SIZE // 4)],
    "fractions": [1.5] * (SIZE // 4),
    "lists": [[]] * (SIZE // 3),
    "lists in lists": [[[]]] * (SIZE // 5),
    "objects": [{"a": 1}] * (SIZE // 8),
    "many fields": [{f"k{n}": n for n in range(SIZE // 16)}],
    "small": ["hello"] * 20,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_takes_more_than_its_weight(shape: str) -> None:
    payload = ChatReplyRequested(
        request_id="r",
        org_id="o",
        key_id="k",
        session_id="s",
        model="m",
        stream=True,
        received_at=1.0,
        body={"v": SHAPES[shape]},
    )
    value = to_json(payload)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        parsed = from_json(ChatReplyRequested, value)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert parsed.body["v"]
    record = Received("t", "k", value, {}, Partition("t", 0), "1", 1.0)
    assert weigh(record) >= taken + len(value)
    # And not so much more that it keeps others out.
    assert weigh(record) <= 12 * (taken + len(value))


def test_what_is_cut_off_past_the_deadline_is_not_required() -> None:
    for spec in EVENTS:
        if spec.bulk is not None:
            fields = list(spec.payload.model_fields)
            behind = fields[fields.index(spec.bulk) + 1 :]
            assert not any(spec.payload.model_fields[name].is_required() for name in behind)
    assert CHAT_REPLY_REQUESTED.bulk == "body"
