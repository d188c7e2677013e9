"""How a client is set up: arguments, environment, defaults; what is wrong is raised at once."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from huggingplace import ClosedError, ConfigurationError, HuggingPlace, ValidationError
from huggingplace.options import Options, Settings, read_options

KEY = {"api_key": "k", "org_id": "o"}


def test_arguments_come_before_the_environment_and_that_before_defaults() -> None:
    environment = {"HUGGINGPLACE_API_KEY": "k", "HUGGINGPLACE_ORG_ID": "o", "HUGGINGPLACE_MODE": "dev", "OTHER": "x"}
    assert read_options({"mode": None}, environment).mode == "dev"
    assert read_options({"mode": "prod"}, environment).mode == "prod"
    assert read_options({}, environment).flush_interval == 1.0
    set_by_text = {**environment, "HUGGINGPLACE_FLUSH_INTERVAL": " 2 ", "HUGGINGPLACE_SPOOL": "no"}
    assert read_options({}, set_by_text).flush_interval == 2.0
    assert read_options({}, set_by_text).spool is False


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"api_key": "k"},
        {"org_id": "o"},
        {**KEY, "mode": "test"},
        {**KEY, "base_url": "example.com"},
        {**KEY, "base_url": "ftp://example.com"},
        {**KEY, "base_url": "https://user:secret@example.com"},
        {**KEY, "base_url": "https://example.com:99999"},
        {**KEY, "api_key": "k\r\nX-Injected: 1"},
        {**KEY, "sample_rate": 1.5},
        {**KEY, "sample_rate": "all"},
        {**KEY, "batch_items": 5000},
        {**KEY, "batch_items": True},
        {**KEY, "flush_interval": 0},
        {**KEY, "timeout": float("nan")},
        {**KEY, "fsync": "sometimes"},
        {**KEY, "on_error": "print"},
        {**KEY, "mask": 5},
        {**KEY, "transport": "pigeon"},
        {**KEY, "transport": b"pigeon"},
        {**KEY, "spool": "yes"},
        {**KEY, "colour": "red"},
    ],
    ids=str,
)
def test_what_cannot_work_is_raised_at_once(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        HuggingPlace(**{"spool_dir": tmp_path, **given})
    assert "secret" not in str(raised.value).replace("base_url must have no credentials", "")


@pytest.mark.parametrize("text", ["many", "1,5"])
def test_a_variable_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HUGGINGPLACE_FLUSH_INTERVAL"):
        read_options(KEY, {"HUGGINGPLACE_FLUSH_INTERVAL": text})


def test_every_setting_has_its_type_for_checkers_and_its_line_in_the_readme() -> None:
    named = {field.name for field in fields(Options)}
    assert set(Settings.__annotations__) == named - {"api_key", "org_id", "mode"}
    readme = (Path(__file__).parents[3] / "libs" / "huggingplace" / "README.md").read_text()
    assert [name for name in sorted(named) if f"`{name}`" not in readme] == []


def test_the_off_switch_needs_no_key_and_touches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUGGINGPLACE_ENABLED", "false")
    client = HuggingPlace(spool_dir=tmp_path)
    session = client.start_session("s")
    with session.step("a"):
        assert session.log(user_prompt="x", scores={"a": 1})
    with pytest.raises(ValidationError):
        client.log()
    assert client.flush(0.1)
    assert client.close(0.1)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_client_says_so(make: Callable[..., HuggingPlace]) -> None:
    client = make()
    session = client.start_session()
    assert client.close()
    assert client.close()
    for act in (lambda: client.log(user_prompt="x"), client.start_session, lambda: client.step("a")):
        with pytest.raises(ClosedError):
            act()
    with pytest.raises(ClosedError):
        session.log(user_prompt="x")
