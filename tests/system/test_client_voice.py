"""A voice platform talks to `/chat/completions` the way Hume's custom language models are called."""

from typing import Any

import httpx
import pytest

from tests.support.clients import Key, Sse, all_events, calls, client, new_key, text_of, upstream_end
from tests.support.sonant import Sonant

PROSODY = {"Admiration": 0.013, "Aesthetic Appreciation": 0.2, "Empathic Pain": 0.0, "Surprise (negative)": 0.7}


def turn(text: str, **fields: Any) -> dict[str, Any]:
    """A request as the platform sends it: no model, prosody with what the user said, none with what it heard."""
    spoken = {"models": {"prosody": {"scores": PROSODY}}, "time": {"begin": 1200, "end": 2340}}
    typed = {"models": {"prosody": None}, "time": {"begin": 0, "end": 0}}
    messages = [
        {"role": "user", "content": "hello there", **spoken},
        {"role": "assistant", "content": "hi!", **typed},
        {"role": "user", "content": text, **spoken, "type": "user_message"},
    ]
    return {"stream": True, "messages": messages, **fields}


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


async def ask(
    sonant: Sonant, key: Key, body: dict[str, Any], session: str = "voice-1"
) -> tuple[httpx.Response, list[Sse]]:
    async with (
        client(sonant.url, key.headers) as http,
        http.stream("POST", "/chat/completions", params={"custom_session_id": session}, json=body) as response,
    ):
        return response, await all_events(response)


async def test_a_turn_is_streamed_as_the_platform_wants_it(sonant: Sonant, key: Key) -> None:
    response, received = await ask(sonant, key, turn("Say: nice to hear you"))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in response.headers
    *chunks, done = received
    assert done.done
    assert text_of(received) == "nice to hear you"
    for chunk in chunks:
        assert {"id", "object", "created", "model", "choices"} <= set(chunk.json)
        assert chunk.json["object"] == "chat.completion.chunk"
        # Never asked for; the platform would index choices that are not there.
        assert "usage" not in chunk.json
        assert len(chunk.json["choices"]) == 1
    assert chunks[0].json["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1].json["choices"][0]["finish_reason"] == "stop"


async def test_the_fingerprint_of_the_upstream_never_gets_through(sonant: Sonant, key: Key) -> None:
    """The platform would take it for the id of the session."""
    _, received = await ask(sonant, key, turn("Say: no prints"))
    assert all(event.json.get("system_fingerprint") in (None, "voice-1") for event in received[:-1])


async def test_the_query_names_the_session(sonant: Sonant, key: Key) -> None:
    response, _ = await ask(sonant, key, turn("Say: where am I"), session="voice: 7/Ü")
    # Header values are ASCII on the wire or UTF-8 read as Latin-1: both tell the same session.
    named = response.headers["x-sonant-session-id"]
    assert "voice: 7/Ü" in (named, named.encode("latin-1", "replace").decode("utf-8", "replace"))


async def test_what_the_platform_adds_reaches_the_model(sonant: Sonant, key: Key) -> None:
    await ask(sonant, key, turn("Say: voice fields kept", new_of_tomorrow=[1, {"a": None}]))
    await upstream_end(sonant, "voice fields kept")
    (call,) = calls(sonant, "voice fields kept")
    assert call["body"]["messages"][0]["content"] == "hello there"
    assert [message["role"] for message in call["body"]["messages"]] == ["user", "assistant", "user"]
    # The alias that stands for no model at all.
    assert call["model"] == "sandbox"


async def test_a_call_without_authorization_is_refused_in_the_one_shape(sonant: Sonant) -> None:
    response = httpx.post(f"{sonant.url}/chat/completions?custom_session_id=v", json=turn("hi"))
    assert response.status_code == 401
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("text", ["Speak your greeting to the user.", "so {very slightly excited, calm}", "…"])
async def test_odd_turns_are_answered(sonant: Sonant, key: Key, text: str) -> None:
    _, received = await ask(sonant, key, turn(text))
    assert text_of(received)
    assert received[-1].done


async def test_a_history_that_ends_with_the_assistant_is_answered(sonant: Sonant, key: Key) -> None:
    body = turn("hello")
    body["messages"].append({"role": "assistant", "content": "and now", "models": None})
    _, received = await ask(sonant, key, body)
    assert received[-1].done


async def test_overlapping_requests_of_one_session_are_all_answered(sonant: Sonant, key: Key) -> None:
    first, second = turn("Say: the first try"), turn("Say: the second try")
    async with client(sonant.url, key.headers) as http:
        url = "/chat/completions?custom_session_id=overlap"
        async with (
            http.stream("POST", url, json=first) as one,
            http.stream("POST", url, json=second) as two,
        ):
            assert text_of(await all_events(two)) == "the second try"
            assert text_of(await all_events(one)) == "the first try"


async def test_an_empty_query_is_no_session(sonant: Sonant, key: Key) -> None:
    response, received = await ask(sonant, key, turn("Say: nobody in particular"), session="")
    assert received[-1].done
    assert response.headers["x-sonant-session-id"] == response.headers["x-sonant-completion-id"]
