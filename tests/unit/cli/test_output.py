"""What the commands print."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.events.record import Partition, Received
from sonant_cli.chat import describe_receipt
from sonant_cli.dlq import (
    Choice,
    as_first_published,
    choose,
    depth_of,
    describe,
    find_topic,
    is_whole,
    newest,
    read_letter,
)
from sonant_cli.errors import CliError
from sonant_cli.gateway import describe_error, locate
from sonant_cli.keys import describe_limits, describe_moment, describe_state
from sonant_cli.state import DataDir
from sonant_cli.status import provider_state
from sonant_cli.topics import describe_lag


def test_an_error_in_the_openai_shape_is_one_line_in_its_own_words() -> None:
    text = '{"error": {"message": "Key not found.\\nTry another.", "type": "invalid_request_error", "code": "no_key"}}'
    assert describe_error(404, text) == "Key not found. Try another. (404, no_key)"
    assert describe_error(502, "<html>\n bad gateway</html>") == "the gateway answered 502: <html> bad gateway</html>"
    assert describe_error(400, '{"error": "text"}') == 'the gateway answered 400: {"error": "text"}'


def test_the_gateway_is_the_one_that_runs_with_its_first_key_unless_told_otherwise(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.write_run({"url": "http://127.0.0.1:9000", "pid": 1, "processes": {}})
    data.admin_key.write_text("sk-first\n")
    assert locate(None, None, data).url == "http://127.0.0.1:9000"
    assert locate(None, None, data).key == "sk-first"
    assert locate("http://other:1/", "sk-own", data).url == "http://other:1"
    assert locate("http://other:1/", "sk-own", data).key == "sk-own"


def test_a_missing_key_is_said_with_the_way_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="SONANT_API_KEY"):
        locate(None, None, DataDir(tmp_path))


def test_the_receipt_tells_the_delay_and_what_was_never_said() -> None:
    receipt = {
        "signal_at": 1000.0,
        "upstream_closed_at": 1000.0042,
        "generated_tokens": 12,
        "delivered_tokens": 10,
    }
    line = "[interrupted: upstream closed 4.2 ms after the signal; tokens generated 12, delivered 10]"
    assert describe_receipt(receipt) == line
    assert "upstream closed already" in describe_receipt({"signal_at": 1000.0, "upstream_closed_at": None})


def test_a_key_is_listed_with_its_limits_and_its_end() -> None:
    limits = {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent_streams": 5}
    assert describe_limits(limits) == "60 rpm, 5 streams"
    assert describe_limits({}) == "none"
    assert describe_moment(0) == "1970-01-01 00:00Z"
    assert describe_moment("2026-01-01T02:00:00+02:00") == "2026-01-01 00:00Z"
    assert describe_state({"revoked_at": 60.0, "expires_at": None}) == "revoked 1970-01-01 00:01Z"
    assert describe_state({"revoked_at": None, "expires_at": 60.0}) == "until 1970-01-01 00:01Z"
    assert describe_state({"revoked_at": None, "expires_at": None}) == "active"


def parked(**headers: str) -> Received:
    return Received(
        topic="chat-events-dlq",
        key="org/session",
        value=b'{"text": "%s"}' % (b"x" * 500),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        partition=Partition("chat-events-dlq", 0),
        offset="7-0",
        timestamp=60.0,
    )


def test_a_dead_letter_is_told_by_its_passport() -> None:
    letter = read_letter(
        parked(
            event_id="e-1",
            event_type="chat.reply.completed/1",
            dlq_topic="chat-events",
            dlq_partition="0",
            dlq_offset="5-0",
            dlq_handler="telemetry.handlers.store",
            dlq_error="Park",
            dlq_message="no such\x1b[2J key",
            dlq_attempts="3",
            dlq_first_failure="0.0",
            dlq_last_failure="120.0",
        )
    )
    lines = describe(letter).splitlines()
    assert lines[0] == "e-1  chat.reply.completed/1  key org/session"
    assert lines[1] == "  Park: no such [2J key"
    assert "3 tries from 1970-01-01 00:00:00Z to 1970-01-01 00:02:00Z, from chat-events 0/5-0" in lines[2]
    assert lines[3].endswith("xxx ...")


def test_a_dead_letter_without_a_passport_is_shown_all_the_same() -> None:
    assert "0 tries from 1970-01-01 00:01:00Z" in describe(read_letter(parked()))


def test_a_dead_letter_of_bytes_that_are_no_text_is_shown_and_never_replayed() -> None:
    letter = parked(event_type="\udcff", dlq_attempts="many", dlq_first_failure="1e300", dlq_error="UnreadableError")
    lines = describe(read_letter(replace(letter, key="\udcc3(", fault="its key is not UTF-8"))).splitlines()
    assert lines[0].encode() == b"     key  ("
    assert "0 tries from" in lines[2]
    assert choose([letter], Choice()) == [letter]
    assert not is_whole(letter)


def test_a_dead_letter_topic_goes_by_its_own_name_or_its_parent() -> None:
    assert find_topic("chat-events") == find_topic("chat-events-dlq")
    with pytest.raises(CliError, match="no dead-letter topic unheard-of"):
        find_topic("unheard-of")


def test_the_lag_is_told_per_group() -> None:
    assert describe_lag({"telemetry": 2, "billing": 0}) == "billing (0), telemetry (2)"
    assert describe_lag({}) == "-"


def test_a_replayed_record_is_what_it_was_before_it_was_set_aside() -> None:
    letter = parked(event_id="e-1", event_type="chat.reply.completed/1", dlq_topic="chat-events", dlq_error="Park")
    again = as_first_published(letter)
    assert (again.topic, again.key, again.value) == ("chat-events", letter.key, letter.value)
    assert again.headers == {"event-id": "e-1", "event-type": "chat.reply.completed/1"}


def test_an_event_parked_twice_is_replayed_once() -> None:
    first, second, other = parked(event_id="e-1"), parked(event_id="e-1"), parked(event_id="e-2")
    assert newest(choose([first, other, second], Choice())) == [second, other]
    assert choose([first, other, second], Choice(("e-2",))) == [other]
    with pytest.raises(CliError, match="not among the open dead letters: e-3"):
        choose([first], Choice(("e-1", "e-3")))


def test_dead_letters_are_chosen_by_what_an_operator_knows() -> None:
    wrong = parked(event_id="e-1", event_type="chat.reply.completed/1", dlq_error="ValidationError")
    late = replace(parked(event_id="e-2", event_type="chat.reply.failed/1", dlq_error="Park"), timestamp=600.0)
    other = replace(late, key="other:session")
    letters = [wrong, late, other]
    assert choose(letters, Choice(type="chat.reply.completed")) == [wrong]
    assert choose(letters, Choice(error="Park")) == [late, other]
    assert choose(letters, Choice(organization="other")) == [other]
    assert choose(letters, Choice(since=100.0, organization="org")) == [late]
    assert choose(letters, Choice(until=100.0)) == [wrong]


def test_dead_letters_are_counted_by_reason() -> None:
    one = parked(event_type="chat.reply.completed/1", dlq_error="Park")
    depth = depth_of("chat-events-dlq", [one, replace(one, timestamp=5.0), parked()])
    assert (depth.records, depth.oldest) == (3, 5.0)
    assert depth.reasons == {("chat.reply.completed/1", "Park"): (2, 5.0), ("-", "-"): (1, 60.0)}


@pytest.mark.parametrize(("sunset", "told"), [(None, "healthy"), ("2020-01-31", "healthy, ended 2020-01-31")])
def test_a_provider_that_ended_is_not_said_to_end(sunset: str | None, told: str) -> None:
    provider = {"configured": True, "breaker": "closed", "healthy": True, "sunset": sunset}
    assert provider_state(provider) == told
    assert provider_state({**provider, "sunset": "2999-01-31"}) == "healthy, ends 2999-01-31"
