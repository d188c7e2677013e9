"""What a URL of Kafka says, what settings add to it, and how one that nobody can log in with is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from common.bus.kafka_access import KafkaAccess
from common.bus.kafka_url import KafkaUrl, completed_from
from common.kernel.settings import CommonSettings, refusals


@pytest.mark.parametrize(
    ("url", "protocol", "mechanism"),
    [
        ("kafka://one:9092,two:9092", "PLAINTEXT", ""),
        ("kafka+ssl://one", "SSL", ""),
        ("kafka://u:p@one", "SASL_PLAINTEXT", "PLAIN"),
        ("kafka+ssl://u:p@one,two?sasl_mechanism=scram-sha-512", "SASL_SSL", "SCRAM-SHA-512"),
        ("kafka+ssl://one?token_file=/run/token", "SASL_SSL", "OAUTHBEARER"),
        ("kafka+ssl://id:secret@one?token_url=https://login.example/token", "SASL_SSL", "OAUTHBEARER"),
    ],
)
def test_protocol_and_mechanism_follow_from_what_is_there(url: str, protocol: str, mechanism: str) -> None:
    parsed = KafkaUrl.parse(url)
    assert (parsed.protocol, parsed.mechanism, parsed.complaint()) == (protocol, mechanism, "")
    assert KafkaUrl.parse(str(parsed)) == parsed


def test_logins_are_unescaped_and_shown_to_nobody() -> None:
    parsed = KafkaUrl.parse("kafka://us%40er:p%2Fa%3Ass@h:1")
    assert (parsed.servers, parsed.username, parsed.password) == ("h:1", "us@er", "p/a:ss")
    assert "p/a" not in repr(parsed)
    assert "p/a" not in repr(KafkaAccess.of(str(parsed)))


def test_settings_fill_in_what_the_url_leaves_open() -> None:
    variables = {"SONANT_KAFKA_USERNAME": "u", "SONANT_KAFKA_PASSWORD": "p/w", "SONANT_KAFKA_SSL_CAFILE": "/ca file"}
    found = KafkaUrl.parse(completed_from("kafka+ssl://own@h?ssl_cafile=/mine", variables))
    assert (found.username, found.password, found.options) == ("own", "p/w", {"ssl_cafile": "/mine"})
    assert completed_from("redis://h", variables) == "redis://h"
    settings = CommonSettings.model_validate(
        {"log_url": "kafka+ssl://h:1", "kafka_username": "u", "kafka_password": "p/w", "kafka_sasl_mechanism": "PLAIN"}
    )
    assert settings.log_address == "kafka+ssl://u:p%2Fw@h:1?sasl_mechanism=PLAIN"
    assert "p/w" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("kafka://u:hidden@h?sasl_mechanism=gssapi", "sasl_mechanism is unknown; known are PLAIN"),
        ("kafka://h?sasl_mechanism=SCRAM-SHA-256", "SCRAM-SHA-256 needs a user and a password"),
        ("kafka://u@h", "PLAIN needs a user and a password"),
        ("kafka://u:hidden@h?ssl_cafile=/ca", "ssl_cafile needs a URL that begins with kafka+ssl://"),
        ("kafka+ssl://h?ssl_keyfile=/key", "ssl_keyfile needs ssl_certfile"),
        ("kafka+ssl://h?sasl_mechanism=OAUTHBEARER", "OAUTHBEARER needs token_url or token_file"),
        ("kafka+ssl://h?token_url=https://t", "token_url needs a user and a password"),
        ("kafka+ssl://u:hidden@h?acks=1", "expected after the `?` is each at most once of sasl_mechanism, ssl_cafile"),
        ("kafka+ssl://h/topic", "expected is kafka://host:port[,host:port] without a path"),
    ],
)
def test_what_nobody_can_log_in_with_is_one_line(url: str, why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        CommonSettings.model_validate({"log_url": url})
    [line] = refusals(refused.value)
    assert line.startswith(f"SONANT_LOG_URL: {why}")
    assert "hidden" not in line


@pytest.mark.parametrize("holds", [None, "no certificate"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, holds: str | None) -> None:
    file = tmp_path / "ca.pem"
    if holds is not None:
        file.write_text(holds)
    with pytest.raises(OSError, match=f"ssl_cafile {file} cannot be used: "):
        KafkaAccess.of(f"kafka+ssl://h?ssl_cafile={file}")
