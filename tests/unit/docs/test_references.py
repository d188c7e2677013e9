"""The references: right about what they describe, the same everywhere, and checked by the command."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.docs import asyncapi, command_line, error_codes, metrics, models_file, settings, topics
from common.docs.__main__ import REPOSITORY, SCHEMAS, generated, main
from common.docs.markdown import table
from common.events.chat import CHAT_REPLY_COMPLETED
from common.events.registry import EVENTS, SIGNALS
from common.events.spec import RequestSpec
from common.kernel.metrics import EVENTS_HANDLED


class Base(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SONANT_")

    host: str = Field(default_factory=socket.gethostname, description="Where.")


class Own(Base):
    mode: Literal["fast", "safe"] = Field(default="safe", description="How.")
    key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OPENAI_API_KEY", "KEY"))
    data_dir: Path
    names: tuple[str, ...] = ("a", "b")


def test_settings_show_variable_type_and_default_but_no_fact_of_this_machine() -> None:
    fields = Own.model_fields
    assert settings.variable(Own, "mode", fields["mode"]) == "SONANT_MODE"
    assert settings.variable(Own, "key", fields["key"]) == "OPENAI_API_KEY"
    assert settings.type_text(fields["mode"].annotation) == "Literal['fast', 'safe']"
    assert settings.type_text(fields["key"].annotation) == "SecretStr | None"
    assert settings.type_text(fields["data_dir"].annotation) == "Path"
    assert settings.type_text(fields["names"].annotation) == "tuple[str, ...]"
    assert settings.default_text(fields["host"]) == "computed: gethostname"
    assert settings.default_text(fields["data_dir"]) == "required"
    assert settings.default_text(fields["key"]) == ""
    assert settings.default_text(fields["mode"]) == "`safe`"


def test_metrics_show_the_name_that_is_scraped() -> None:
    page = metrics.reference()
    [family] = EVENTS_HANDLED.describe()
    assert f"| `{family.name}_total` | counter | `event`, `outcome` |" in page
    assert "| `sonant_event_seconds` | histogram | `event` |" in page


def test_topics_show_the_key_by_its_fields() -> None:
    assert topics.describe_key(CHAT_REPLY_COMPLETED) == "{org_id}/{session_id}"
    assert "| `chat-events` | 4 | `{org_id}/{session_id}`, `{org_id}/{request_id}` |" in topics.reference()


def test_a_pipe_does_not_end_a_cell() -> None:
    assert table(("a",), [("x | y",)]).splitlines()[-1] == r"| x \| y |"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from [value] if name == "$ref" else references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi.document()
    targets = set(references(document))
    assert targets
    for target in targets:
        node: Any = document
        for name in target.removeprefix("#/").split("/"):
            node = node[name]


def test_every_event_is_an_operation_of_the_asyncapi_document() -> None:
    document = asyncapi.document()
    assert len(document["operations"]) == len(EVENTS) + len(SIGNALS)
    assert document["operations"]["receive.chat.reply.requested.v1"]["action"] == "receive"
    assert document["operations"]["send.chat.reply.completed.v1"]["action"] == "send"


def test_every_request_names_its_reply() -> None:
    operations = asyncapi.document()["operations"]
    for spec in EVENTS:
        if isinstance(spec, RequestSpec):
            (message,) = operations[f"receive.{spec.type}.v{spec.version}"]["reply"]["messages"]
            assert message["$ref"].endswith(f"/{spec.type}.v{spec.version}.reply")


def test_an_event_that_is_never_parked_is_no_message_of_a_dead_letter_channel() -> None:
    channels = asyncapi.document()["channels"]
    parked = {message for name, channel in channels.items() if name.endswith("-dlq") for message in channel["messages"]}
    assert parked == {f"{spec.type}.v{spec.version}" for spec in EVENTS if spec.park}


def test_generated_files_are_the_same_twice_and_know_nothing_of_this_machine() -> None:
    files = generated()
    assert files == generated()
    for text in files.values():
        assert str(REPOSITORY) not in text
        assert str(Path.home()) not in text or str(Path.home()) == "/"
        assert socket.gethostname() not in text


def test_the_command_writes_then_finds_nothing_to_say(tmp_path: Path) -> None:
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0


def test_the_check_names_what_differs_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--root", str(tmp_path)])
    stale = tmp_path / "deploy/reference/topics.md"
    stale.write_text("old")
    (tmp_path / "deploy/reference/metrics.md").unlink()
    assert main(["--root", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["deploy/reference/topics.md", "deploy/reference/metrics.md"]
    assert stale.read_text() == "old"


def test_a_frozen_schema_is_never_overwritten_by_one_that_breaks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--root", str(tmp_path)])
    path = tmp_path / SCHEMAS / "chat.reply.completed.v1.json"
    schema = json.loads(path.read_text())
    schema["properties"]["gone"] = {"type": "string"}
    path.write_text(json.dumps(schema))
    before = path.read_text()
    assert main(["--root", str(tmp_path)]) == 1
    assert "chat.reply.completed.v1.json: /properties/gone was removed" in capsys.readouterr().err
    assert path.read_text() == before


def test_error_codes_are_found_through_the_functions_that_refuse(tmp_path: Path) -> None:
    source = tmp_path / "services" / "desk" / "src" / "desk"
    source.mkdir(parents=True)
    (tmp_path / "libs" / "common" / "src").mkdir(parents=True)
    (source / "views.py").write_text(
        """
def gone(message, code="gone"):
    return Refused(410, message, code)

def look(name, old):
    if old:
        raise gone(f"There is no {name} any more.")
    message = "Not " + "now." if name else "Not now."
    raise Refused(status=503 if name else 504, message="Not now.", code="busy" if old else "asleep")
"""
    )
    found = {(each.code, each.status, each.message, each.origin) for each in error_codes.refusals(tmp_path)}
    assert ("gone", 410, "There is no … any more.", "desk") in found
    assert {each[:2] for each in found if each[2] == "Not now."} == {
        ("busy", 503),
        ("busy", 504),
        ("asleep", 503),
        ("asleep", 504),
    }


def test_codes_of_every_service_are_told() -> None:
    page = error_codes.reference(REPOSITORY)
    for row in ("| `invalid_api_key` | 401 | gateway |", "| `upstream_timeout` | 504 | llm-stream |"):
        assert row in page


def test_every_key_of_the_models_file_is_told() -> None:
    page = models_file.reference()
    assert "| `first_byte_timeout` | number, above 0, at most 600 |" in page
    assert "| `upstreams` | list, at least 1, at most 10 | required |" in page


def test_every_command_is_told_with_its_options() -> None:
    page = command_line.reference()
    assert "## `sonant up`" in page
    assert "### `sonant keys create`" in page
    assert "--budget-usd" in page
