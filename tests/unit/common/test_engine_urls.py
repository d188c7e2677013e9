"""Which addresses of engines and stores can be, and that a refusal shows no password."""

import pytest
from pydantic import ValidationError

from common.kernel.settings import CommonSettings, refusals


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_url", "kafka://one:9092,two:9092"),
        ("log_url", "unix://:secret@/run/valkey.sock"),
        ("redis_url", "rediss://user:p%40ss@[::1]:6380/0"),
        ("database_url", "postgresql://u:p@one:5432,two:5432/sonant"),
        ("database_url", "postgres:///sonant?host=/run/postgresql"),
        ("objects_url", ""),
        ("objects_url", "file:///srv/objects"),
        ("objects_url", "s3://bucket/prefix"),
        ("log_level", "INFO"),
    ],
)
def test_addresses_that_work_are_taken_as_they_are(name: str, value: str) -> None:
    assert getattr(CommonSettings.model_validate({name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("log_url", "http://h:9092", "begins with kafka://, kafka+ssl://, redis://, rediss:// or unix://"),
        ("log_url", "localhost:9092", "begins with kafka://"),
        ("redis_url", "kafka://h:9092", "begins with redis://, rediss:// or unix://"),
        ("redis_url", "redis://:hidden#hidden@h:6379", "in a password each of"),
        ("redis_url", "redis://h:hidden", "the host or its port cannot be read"),
        ("database_url", "mysql://u:hidden@h/d", "begins with postgresql:// or postgres://"),
        ("database_url", "postgresql://u:hid/den@h/d", "in a password each of"),
        ("database_url", "postgresql://h/d?sslmode=always", "sslmode is disable, allow, prefer, require, verify-ca or"),
        ("database_url", "postgresql://h/d?sslrootcert=/no.pem", "sslrootcert names /no.pem, which is no file here"),
        ("redis_url", "rediss://h?ssl_ca_certs=/no.pem", "ssl_ca_certs names /no.pem, which is no file here"),
        ("objects_url", "/srv/objects", "file:///folder or s3://bucket/prefix"),
        ("objects_url", "s3://", "file:///folder or s3://bucket/prefix"),
        ("log_level", "loud", "expected is debug, info, warning, error or critical"),
    ],
)
def test_others_are_refused_with_what_is_allowed(name: str, value: str, why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        CommonSettings.model_validate({name: value})
    [line] = refusals(refused.value)
    assert line.startswith(f"SONANT_{name.upper()}: ")
    assert why in line
    assert "hid" not in line
