"""Sampling, masking, size: what is kept of what is logged, and what is told."""

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from huggingplace import HuggingPlace, HuggingPlaceError, MaskingError, PayloadTooLargeError
from huggingplace.uuid7 import uuid7
from tests.unit.huggingplace.conftest import Listing

Make = Callable[..., HuggingPlace]


def test_a_trace_is_sampled_as_a_whole_and_the_same_everywhere(make: Make, listing: Listing) -> None:
    client = make(sample_rate=0.3)
    kept = set()
    for _ in range(500):
        with client.step("turn") as turn:
            client.log(user_prompt="x", scores={"a": 1})
            client.log(user_prompt="y")
        if zlib.crc32(turn.trace.id.encode()) < 0.3 * 2**32:
            kept.add(turn.trace.id)
    assert client.flush(10)
    by_trace: dict[str, int] = {}
    for item in listing.items:
        if "trace_id" in item:
            by_trace[item["trace_id"]] = by_trace.get(item["trace_id"], 0) + 1
    assert set(by_trace) == kept
    assert set(by_trace.values()) == {3}
    assert sum(item.get("kind") == "score" for item in listing.items) == len(kept)
    counters = client.counters()
    assert counters["logged"] + counters["sampled_out"] == 2000
    assert 75 < len(kept) < 225


@pytest.mark.parametrize(("rate", "count"), [(0.0, 0), (1.0, 20)])
def test_none_and_all(make: Make, listing: Listing, rate: float, count: int) -> None:
    client = make(sample_rate=rate)
    ids = [client.log(user_prompt="x") for _ in range(20)]
    client.score(ids[0], "good", 1)
    client.flush(5)
    assert sum("kind" not in item for item in listing.items) == count
    assert sum("kind" in item for item in listing.items) == (1 if count else 0)


def test_a_score_of_what_was_logged_elsewhere_is_kept_by_its_own_hash(make: Make, listing: Listing) -> None:
    client = make(sample_rate=1.0)
    client.score(uuid7(), "good", 1)
    client.flush(5)
    assert len(listing.items) == 1


def test_the_mask_sees_a_copy_of_everything(make: Make, listing: Listing) -> None:
    seen: list[Any] = []

    def mask(item: dict[str, Any]) -> dict[str, Any]:
        seen.append(item.get("kind"))
        item["metaData"] = {}
        return {name: "***" if name in ("user_prompt", "comment", "output") else value for name, value in item.items()}

    client, metadata = make(mask=mask), {"secret": ["hunter2"]}
    logged = client.log(user_prompt="hunter2", metadata=metadata)
    client.score(logged, "good", 1, comment="hunter2")
    with client.step("a") as step:
        step.output = "hunter2"
    client.flush(5)
    assert seen == [None, "score", "step"]
    assert "hunter2" not in str(listing.items)
    assert metadata == {"secret": ["hunter2"]}


@pytest.mark.parametrize(
    "mask", [lambda item: 1 / 0, lambda item: None, lambda item: {}, lambda item: {**item, "id": "another"}]
)
def test_a_mask_that_fails_lets_no_text_through(
    make: Make, listing: Listing, told: list[HuggingPlaceError], mask: Callable[[Any], Any], tmp_path: Any
) -> None:
    client = make(mask=mask)
    with client.start_session("hunter2") as session:
        with session.step("hunter2"):
            pass
        session.log(user_prompt="hunter2", response="hunter2", user_id="hunter2", prompt_tokens=5)
        with client.step("hunter2"):
            pass
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*.segment"))
    client.flush(5)
    assert "hunter2" not in str(listing.items)
    assert (listing.items[0]["user_prompt"], listing.items[0]["prompt_tokens"]) == ("[masking failed]", 5)
    assert all(isinstance(error, MaskingError) and "hunter2" not in str(error) for error in told)
    assert client.counters()["masking_failures"] == len(told) == len(listing.items)


def test_what_is_too_large_is_told_and_not_raised(make: Make, listing: Listing, told: list[HuggingPlaceError]) -> None:
    client = make(max_item_bytes=10_000)
    logged = client.log(user_prompt="x" * 10_000)
    client.log(user_prompt="y")
    client.flush(5)
    assert [item["user_prompt"] for item in listing.items] == ["y"]
    [error] = told
    assert isinstance(error, PayloadTooLargeError)
    assert error.ids == (logged,)
    assert client.counters()["dropped"] == 1


def test_an_on_error_that_fails_or_logs_stands_in_nobodys_way(make: Make, listing: Listing) -> None:
    def on_error(error: HuggingPlaceError) -> None:
        client.log(user_prompt="x" * 20_000)
        raise RuntimeError("no")

    client = make(max_item_bytes=10_000, on_error=on_error)
    client.log(user_prompt="x" * 20_000)
    assert client.counters()["callback_failures"] == 1
    assert client.counters()["dropped"] == 2
