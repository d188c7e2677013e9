"""What a request in a dialect becomes on the log: a chat request, with what its answer needs to know."""

from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from common.failures import Refused
from gateway.chat.accepted_request import AcceptedRequest, Read
from gateway.chat.completion_request import ChatRequest
from gateway.chat.dialect_readers import PROSODY_HEADER, chat_reader, named_dialect, response_reader
from gateway.chat.publication import request_record
from gateway.deps import DEPS
from gateway.http.validation import validate
from gateway.ports import Caller
from gateway.settings import GatewaySettings

SCORES = {"Joy": 0.6}
SPOKEN = {"role": "user", "content": "hi", "models": {"prosody": {"scores": SCORES}}}


def asked(name: str = "auto", query: str = "", **headers: str) -> web.Request:
    app = web.Application()
    app[DEPS] = cast("Any", SimpleNamespace(settings=GatewaySettings()))
    return make_mocked_request(
        "POST", f"/v1/dialects/{name}/chat/completions{query}", headers, app=app, match_info={"dialect": name}
    )


def on_the_log(read: Read | None, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    reading = None if read is None else read(request, body)
    chat = body if reading is None else reading.body
    accepted = AcceptedRequest(
        caller=Caller("acme", "key", frozenset({"chat"})),
        body=chat,
        asked=validate(ChatRequest, chat),
        request_id="chatcmpl-1",
        session_id="s",
        user_id=None,
        project_id=None,
        grace=0.0,
        interrupts=False,
        size=100,
        received_at=1.0,
        deadline=2.0,
        streamed=False,
        place=cast("Any", None),
        dialect=None if reading is None else reading.dialect,
        prosody=None if reading is None else reading.prosody,
    )
    payload: dict[str, Any] = orjson.loads(request_record(accepted, "mailbox").value)
    return payload


def test_a_plain_request_says_nothing_of_dialects() -> None:
    payload = on_the_log(None, asked(), {"messages": [SPOKEN]})
    assert not {"dialect", "prosody"} & payload.keys()


def test_a_dialect_travels_with_what_its_answer_tells_again() -> None:
    request = asked("hume", "?custom_session_id=chat-7")
    payload = on_the_log(chat_reader(named_dialect(request)), request, {"messages": [SPOKEN]})
    assert payload["dialect"] == {"name": "hume", "told": {"session_id": "chat-7", "scores": SCORES}}
    assert payload["prosody"] == [{"scores": SCORES}]


@pytest.mark.parametrize(("header", "told"), [({PROSODY_HEADER: "include"}, {"scores": SCORES}), ({}, {})])
def test_a_response_is_published_as_a_chat_request(header: dict[str, str], told: dict[str, Any]) -> None:
    request = asked(**header)
    payload = on_the_log(response_reader(named_dialect(request)), request, {"input": [SPOKEN], "turn_id": 3})
    assert (payload["body"], payload["model"]) == ({"messages": [SPOKEN], "turn_id": 3}, "default")
    assert payload["dialect"] == {"name": "responses", "told": {"turn_id": 3, **told}}


def test_a_dialect_that_is_none_and_too_many_items_are_refused() -> None:
    with pytest.raises(Refused) as unknown:
        named_dialect(asked("klingon"))
    assert (unknown.value.status, unknown.value.code) == (404, "dialect_not_found")
    with pytest.raises(Refused) as many:
        response_reader(None)(asked(), {"input": [SPOKEN] * 2001})
    assert (many.value.code, many.value.param) == ("too_many_messages", "input")
    with pytest.raises(Refused) as odd:
        chat_reader(None)(asked(**{PROSODY_HEADER: "perhaps"}), {"messages": [SPOKEN]})
    assert odd.value.param == PROSODY_HEADER
