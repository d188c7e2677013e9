"""What is logged arrives, once for each id, and with what was said."""

from pathlib import Path

import pytest

from huggingplace import HuggingPlaceError, RefusedError
from tests.integration.huggingplace.conftest import MakeClient
from tests.support.ingest_server import IngestServer


def test_an_interaction_arrives_as_it_was_logged(server: IngestServer, make_client: MakeClient) -> None:
    client = make_client()
    logged = client.log(
        user_prompt="What's the weather?",
        response="It's sunny today.",
        metadata={"sessionId": "123"},
        user_metadata={"email": "user@example.com"},
        token_count={"prompt": 5, "completion": 6},
    )
    assert client.flush()
    item = server.items[logged]
    assert item.pop("timestamp") > 1.7e9
    assert item == {
        "id": logged,
        "user_prompt": "What's the weather?",
        "ai_response": "It's sunny today.",
        "metaData": {"sessionId": "123"},
        "user_meta_data": {"email": "user@example.com"},
        "token_count": {"prompt": 5, "completion": 6},
        "org_id": "acme",
        "mode": "prod",
    }
    [request] = server.requests
    assert request["path"] == "/v2/interactions:batch"
    assert request["headers"]["authorization"] == "Bearer the-key-of-this-test"
    assert request["headers"]["user-agent"].startswith("huggingplace-python/")


def test_many_go_in_batches_over_one_connection(server: IngestServer, make_client: MakeClient) -> None:
    client = make_client(batch_items=50)
    ids = [client.log(user_prompt=f"{number}") for number in range(1000)]
    assert client.flush()
    assert set(server.items) == set(ids)
    assert len(server.requests) <= 60
    assert all(request["items"] <= 50 for request in server.requests)
    assert all(
        request["headers"].get("content-encoding") == "gzip" for request in server.requests if request["items"] > 20
    )
    assert client.counters()["delivered"] == 1000


def test_nothing_waits_longer_than_the_interval(server: IngestServer, make_client: MakeClient) -> None:
    client = make_client(flush_interval=0.05)
    client.log(user_prompt="one")
    assert client.flush(5)
    assert len(server.items) == 1


def test_a_refused_item_is_told_and_kept_and_the_rest_is_delivered(
    server: IngestServer, make_client: MakeClient, told: list[HuggingPlaceError], tmp_path: Path
) -> None:
    client = make_client()
    good = client.log(user_prompt="fine")
    bad = client.log(user_prompt="refuse me")
    assert client.flush()
    assert set(server.items) == {good}
    [error] = told
    assert isinstance(error, RefusedError)
    assert (error.status, error.code, error.ids) == (400, "invalid_value", (bad,))
    [kept] = tmp_path.rglob("refused.jsonl")
    assert bad in kept.read_text()
    assert client.counters()["refused"] == 1
    assert client.close(1)
    with make_client() as another:
        assert another.flush(1)
    assert server.seen == {good: 1, bad: 1}


@pytest.mark.parametrize("compress", [True, False])
def test_a_payload_of_a_megabyte_arrives_whole(server: IngestServer, make_client: MakeClient, compress: bool) -> None:
    client = make_client(compress=compress)
    text = "Zwölf Boxkämpfer jagen Viktor. " * 32_000
    ids = [client.log(user_prompt=text, response=str(number)) for number in range(5)]
    assert client.flush(20)
    assert {server.items[each]["user_prompt"] for each in ids} == {text}
    assert all(request["bytes"] < 5 * 1024 * 1024 for request in server.requests)
