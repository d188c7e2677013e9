"""Replies of services as HTTP answers, and what makes two commands the same."""

from typing import Any

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request

from common.events.reply import Reply, ReplyBody
from common.events.resources import RESOURCE_CREATE_REQUESTED, RESOURCE_VERSION_REQUESTED
from common.failures import Refused
from gateway.http.errors import response_to
from gateway.http.idempotency import IDEMPOTENCY_HEADER
from gateway.http.request_reply import _event_id, answer, with_retry_headers


class Shown(ReplyBody):
    config: int
    prompt: int


def failed(status: int, headers: dict[str, str] | None = None, **details: Any) -> Refused:
    return Refused(status, "No.", "no", type="server_error", details=details, headers=headers or {})


def test_a_success_is_shown_in_its_shape_with_its_headers() -> None:
    reply = Reply(Shown(config=1, prompt=2), 201, {"x-sonant-provider": "sandbox"})
    response = answer(reply, lambda shown: shown.config)
    assert (response.status, response.body) == (201, b"1")
    assert response.headers["x-sonant-provider"] == "sandbox"
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("refused", "seconds"),
    [
        (failed(404), None),
        (failed(503), "1"),
        (failed(503, retry_after=7.2), "8"),
        (failed(503, {"retry-after": "3"}), "3"),
        (failed(502, retry_after=2), "2"),
        (failed(502), None),
    ],
)
def test_a_failure_says_when_to_come_back_where_that_helps(refused: Refused, seconds: str | None) -> None:
    response = response_to(with_retry_headers(refused))
    assert response.headers.get("retry-after") == seconds
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body) == refused.body()


def test_a_command_is_the_same_event_under_the_same_key_and_only_then() -> None:
    def id_of(key: str | None, content: bytes = b"{}", spec: Any = RESOURCE_CREATE_REQUESTED) -> str | None:
        headers = {} if key is None else {IDEMPOTENCY_HEADER: key}
        return _event_id(make_mocked_request("POST", "/", headers=headers), spec, content)

    first = id_of("a")
    assert first == id_of("a")
    assert len({first, id_of("b"), id_of("a", b"[]"), id_of("a", spec=RESOURCE_VERSION_REQUESTED)}) == 4
    assert id_of(None) is None
