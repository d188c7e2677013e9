"""Keys over HTTP: their limits, their life, their scopes, and requests that are repeated."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.clients import (
    Key,
    Sse,
    all_events,
    calls,
    chat,
    client,
    events,
    new_key,
    text_of,
    upstream_asked,
)
from tests.support.sonant import Sonant
from tests.support.waiting import eventually

PATH = "/v1/chat/completions"
KEYS = "/v1/admin/keys"
GRACE = {"x-sonant-resume-grace": "10"}
# Short words: they are taken for a fourth of the tokens that they cost twice, in the prompt and in the answer. What is
# reserved fits the bucket, and a key that has paid for them is in debt for a minute.
WORDS = " ".join(["a"] * 4000)
TOKENS_PER_MINUTE = 3000
# Asking costs tokens as well: too seldom to use up what is left.
ASKING_SECONDS = 0.25


@pytest.fixture(scope="module")
def key(sonant: Sonant) -> Key:
    return new_key(sonant)


@pytest.fixture
async def http(sonant: Sonant, key: Key) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, key.headers) as opened:
        yield opened


@pytest.fixture
async def admin(sonant: Sonant) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sonant.url, sonant.headers) as opened:
        yield opened


def check_refusal(response: httpx.Response) -> None:
    """A 429 says when to come back."""
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(response.headers["retry-after"]) >= 1
    assert int(response.headers["retry-after-ms"]) > 0
    assert response.headers["x-should-retry"] == "true"


# -- limits ---------------------------------------------------------------------------------------------------------


async def test_requests_per_minute(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"requests_per_minute": 2})
    async with client(sonant.url, key.headers) as http:
        answers = [await http.post(PATH, json=chat("hi", stream=number == 1)) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["2"] * 3
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].headers["x-ratelimit-reset-requests"].endswith("s")
    check_refusal(answers[2])


async def test_a_limit_is_the_rate_limit_error_of_the_client(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"requests_per_minute": 1})
    async with openai.AsyncOpenAI(base_url=f"{sonant.url}/v1", api_key=key.text, max_retries=0) as ai:
        await ai.chat.completions.create(model="default", messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(openai.RateLimitError) as limited:
            await ai.chat.completions.create(model="default", messages=[{"role": "user", "content": "hi"}])
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.type == "requests"


async def test_other_keys_of_the_organisation_keep_their_own_limits(sonant: Sonant) -> None:
    limited = new_key(sonant, limits={"requests_per_minute": 1})
    free = new_key(sonant, limited.organization)
    statuses = [
        httpx.post(f"{sonant.url}{PATH}", headers=key.headers, json=chat("hi")).status_code
        for key in (limited, limited, free)
    ]
    assert statuses == [200, 429, 200]


async def test_concurrent_streams(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"concurrent_streams": 1})
    async with client(sonant.url, key.headers) as http:
        async with http.stream("POST", PATH, json=chat("Say: one at a time", "steady", stream=True)) as first:
            incoming = events(first)
            await anext(incoming)
            check_refusal(await http.post(PATH, json=chat("hi", stream=True)))
            assert [event async for event in incoming][-1].done
        await eventually(lambda: answered(http))


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_client_that_leaves_frees_its_slot(sonant: Sonant, streaming: bool) -> None:
    key = new_key(sonant, limits={"concurrent_streams": 1})
    marker = f"leaves its slot {streaming}"
    async with client(sonant.url, key.headers) as http:
        asking = asyncio.create_task(http.post(PATH, json=chat(marker, "silent", stream=streaming)))
        await upstream_asked(sonant, marker)
        check_refusal(await http.post(PATH, json=chat("hi")))
        asking.cancel()
        await eventually(lambda: answered(http))


async def answered(http: httpx.AsyncClient, **fields: Any) -> bool:
    """Whether the key is let through now."""
    response = await http.post(PATH, json=chat("hi", **fields))
    assert response.status_code in (200, 429), response.text
    return response.status_code == 200


@pytest.mark.parametrize("streaming", [True, False])
async def test_reserved_tokens_are_settled(sonant: Sonant, streaming: bool) -> None:
    """Each reserves nearly all there is for a minute and uses little: the second passes as soon as that is known."""
    key = new_key(sonant, limits={"tokens_per_minute": 1000})
    async with client(sonant.url, key.headers) as http:
        for _ in range(3):
            await eventually(lambda: answered(http, max_tokens=900, stream=streaming))


async def test_failed_requests_cost_no_tokens(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"tokens_per_minute": 1000})
    async with client(sonant.url, key.headers) as http:
        refused = await http.post(PATH, json=chat("hi", "refusing", max_tokens=900))
        assert refused.status_code == 400
        assert int(refused.headers["x-ratelimit-remaining-tokens"]) < 200
        await eventually(lambda: answered(http, max_tokens=900))


async def test_a_request_that_can_never_fit_is_told_so(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"tokens_per_minute": 1000})
    response = httpx.post(f"{sonant.url}{PATH}", headers=key.headers, json=chat("hi", max_tokens=5000))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "tokens_exceed_limit"


# -- clients that leave ---------------------------------------------------------------------------------------------


async def some(response: httpx.Response, count: int) -> list[Sse]:
    incoming = events(response)
    return [await anext(incoming) for _ in range(count)]


def resuming(http: httpx.AsyncClient, completion: str, after: int = 0) -> Any:
    return http.stream("GET", f"{PATH}/{completion}/stream", headers={"Last-Event-ID": str(after)})


async def test_an_answer_taken_up_is_charged_in_full(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"tokens_per_minute": TOKENS_PER_MINUTE})
    async with client(sonant.url, key.headers) as http:
        body = chat(f"Say: {WORDS}", stream=True)
        async with http.stream("POST", PATH, json=body, headers=GRACE) as response:
            completion = response.headers["x-sonant-completion-id"]
            await some(response, 1)
        async with resuming(http, completion, 2) as response:
            assert (await all_events(response))[-1].done
        await eventually(lambda: in_debt(http), interval=ASKING_SECONDS)


async def test_an_answer_left_before_its_end_is_charged(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"tokens_per_minute": TOKENS_PER_MINUTE})
    async with client(sonant.url, key.headers) as http:
        body = chat(f"Say: {WORDS}", stream=True, max_tokens=500)
        async with http.stream("POST", PATH, json=body) as response:
            await some(response, 490)
        await eventually(lambda: in_debt(http), interval=ASKING_SECONDS)


async def in_debt(http: httpx.AsyncClient) -> bool:
    """Whether not even the smallest request is let through."""
    return not await answered(http, max_tokens=1)


async def test_an_answer_without_its_client_keeps_its_slot_and_is_taken_up_in_it(sonant: Sonant) -> None:
    key = new_key(sonant, limits={"concurrent_streams": 1})
    async with client(sonant.url, key.headers) as http:
        async with http.stream("POST", PATH, json=chat("Say: kept slot", "steady", stream=True), headers=GRACE) as left:
            completion = left.headers["x-sonant-completion-id"]
            await some(left, 1)
        check_refusal(await http.post(PATH, json=chat("hi")))
        async with resuming(http, completion, 2) as response:
            check_refusal(await http.post(PATH, json=chat("hi")))
            assert (await all_events(response))[-1].done
        await eventually(lambda: answered(http))


async def test_who_takes_an_answer_up_needs_a_slot(sonant: Sonant) -> None:
    free = new_key(sonant)
    limited = new_key(sonant, free.organization, limits={"concurrent_streams": 1})
    async with client(sonant.url, free.headers) as http:
        async with http.stream("POST", PATH, json=chat("Say: read again", stream=True)) as response:
            completion = response.headers["x-sonant-completion-id"]
            whole = await all_events(response)
    async with client(sonant.url, limited.headers) as http:
        # One that does not exist takes none.
        assert (await http.get(f"{PATH}/chatcmpl-{'0' * 32}/stream")).status_code == 404
        async with http.stream("POST", PATH, json=chat("Say: the only one", "steady", stream=True)) as only:
            await some(only, 1)
            check_refusal(await http.get(f"{PATH}/{completion}/stream"))
        await eventually(lambda: answered(http))

        async def read_again() -> list[Sse]:
            async with resuming(http, completion) as response:
                return await all_events(response) if response.status_code == 200 else []

        assert await eventually(read_again) == whole
        await eventually(lambda: answered(http))


# -- a provider's limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [True, False])
async def test_nobody_is_told_to_come_back_to_an_exhausted_quota(http: httpx.AsyncClient, streaming: bool) -> None:
    response = await http.post(PATH, json=chat("hi", "spent", stream=streaming))
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "insufficient_quota"
    assert response.headers["x-should-retry"] == "false"
    assert not {"retry-after", "retry-after-ms"} & set(response.headers)


# -- repeated requests ------------------------------------------------------------------------------------------------


async def test_a_repeated_request_gets_the_first_answer(sonant: Sonant, http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "repeat-1"}
    body = chat("Say: asked only once")
    first = await http.post(PATH, json=body, headers=headers)
    again = await http.post(PATH, json=dict(reversed(body.items())), headers=headers)
    assert again.status_code == first.status_code == 200
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["x-sonant-completion-id"] == first.headers["x-sonant-completion-id"]
    assert len(calls(sonant, "asked only once")) == 1


async def test_another_request_under_the_same_key_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "repeat-2"}
    await http.post(PATH, json=chat("Say: one thing"), headers=headers)
    response = await http.post(PATH, json=chat("Say: another"), headers=headers)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_repetition_while_the_first_runs_is_asked_to_wait(sonant: Sonant, http: httpx.AsyncClient) -> None:
    headers, body = {"Idempotency-Key": "repeat-3"}, chat("Say: still at it", "steady")
    first = asyncio.create_task(http.post(PATH, json=body, headers=headers))
    await upstream_asked(sonant, "still at it")
    busy = await http.post(PATH, json=body, headers=headers)
    assert busy.status_code == 409
    assert int(busy.headers["retry-after"]) >= 1
    completion = (await first).json()["id"]
    assert (await http.post(PATH, json=body, headers=headers)).json()["id"] == completion


async def test_a_failed_request_may_be_repeated(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "repeat-4"}
    assert (await http.post(PATH, json=chat("hi", "nonesuch"), headers=headers)).status_code == 404
    assert (await http.post(PATH, json=chat("hi"), headers=headers)).status_code == 200


async def test_keys_of_repetition_belong_to_an_api_key(sonant: Sonant, http: httpx.AsyncClient, key: Key) -> None:
    headers, body = {"Idempotency-Key": "repeat-5"}, chat("Say: mine")
    mine = await http.post(PATH, json=body, headers=headers)
    async with client(sonant.url, new_key(sonant, key.organization).headers) as other:
        theirs = await other.post(PATH, json=body, headers=headers)
    assert mine.json()["id"] != theirs.json()["id"]


async def test_streams_are_not_repeated(http: httpx.AsyncClient) -> None:
    completions = set()
    for _ in range(2):
        body, headers = chat("Say: streamed anew", stream=True), {"Idempotency-Key": "repeat-6"}
        async with http.stream("POST", PATH, json=body, headers=headers) as response:
            assert text_of(await all_events(response)) == "streamed anew"
            completions.add(response.headers["x-sonant-completion-id"])
    assert len(completions) == 2


@pytest.mark.parametrize("given", ["", "x" * 256, "tab\tinside"])
async def test_a_bad_key_of_repetition_is_refused(http: httpx.AsyncClient, given: str) -> None:
    response = await http.post(PATH, json=chat("hi"), headers={"Idempotency-Key": given})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "Idempotency-Key"


# -- the life of a key ----------------------------------------------------------------------------------------------


def works(sonant: Sonant, key: str) -> bool:
    response = httpx.get(f"{sonant.url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert response.status_code in (200, 401)
    return response.status_code == 200


async def test_a_key_is_shown_once(sonant: Sonant, admin: httpx.AsyncClient) -> None:
    body = {"name": "shown once", "organization": "shown-once", "scopes": ["chat", "admin"]}
    created = await admin.post(KEYS, json=body)
    assert created.status_code == 201
    assert created.headers["cache-control"] == "no-store"
    assert works(sonant, created.json()["key"])
    listed = await admin.get(KEYS, params={"organization": "shown-once"})
    (found,) = listed.json()["data"]
    assert found == {name: value for name, value in created.json().items() if name != "key"} | {
        "last_used_at": found["last_used_at"]
    }
    assert created.json()["key"] not in listed.text


async def test_a_revoked_key_is_refused_at_once(sonant: Sonant, admin: httpx.AsyncClient) -> None:
    key = new_key(sonant)
    assert works(sonant, key.text)
    revoked = await admin.delete(f"{KEYS}/{key.id}")
    assert revoked.json()["revoked_at"]
    assert not works(sonant, key.text)
    again = await admin.delete(f"{KEYS}/{key.id}")
    assert again.json()["revoked_at"] == revoked.json()["revoked_at"]


async def test_a_key_is_replaced_with_an_overlap(sonant: Sonant, admin: httpx.AsyncClient) -> None:
    old = new_key(sonant, limits={"requests_per_minute": 50})
    new = (await admin.post(f"{KEYS}/{old.id}/rotate", json={"overlap": 600})).json()
    assert works(sonant, old.text)
    assert works(sonant, new["key"])
    assert new["organization"] == old.organization
    assert new["limits"]["requests_per_minute"] == 50
    assert (await admin.post(f"{KEYS}/{old.id}/rotate", json={})).status_code == 409


async def test_a_key_is_replaced_at_once(sonant: Sonant, admin: httpx.AsyncClient) -> None:
    old = new_key(sonant)
    assert works(sonant, old.text)
    new = (await admin.post(f"{KEYS}/{old.id}/rotate", json={"overlap": 0})).json()
    assert not works(sonant, old.text)
    assert works(sonant, new["key"])


async def test_a_key_expires(sonant: Sonant) -> None:
    key = new_key(sonant, expires_in=1)
    await eventually(lambda: not works(sonant, key.text))


async def test_a_key_without_the_scope_is_forbidden(sonant: Sonant) -> None:
    chatting, managing = new_key(sonant), new_key(sonant, scopes=["admin"])
    listing = httpx.get(f"{sonant.url}{KEYS}", headers=chatting.headers)
    talking = httpx.post(f"{sonant.url}{PATH}", headers=managing.headers, json=chat("hi"))
    for refused in (listing, talking):
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "insufficient_scope"


async def test_no_organisation_sees_or_touches_the_keys_of_another(sonant: Sonant) -> None:
    mine = new_key(sonant, scopes=["admin"])
    theirs = new_key(sonant)
    async with client(sonant.url, mine.headers) as http:
        assert [found["id"] for found in (await http.get(KEYS)).json()["data"]] == [mine.id]
        assert (await http.get(KEYS, params={"organization": theirs.organization})).status_code == 403
        assert (await http.get(KEYS, params={"after": theirs.id})).status_code == 404
        assert (await http.delete(f"{KEYS}/{theirs.id}")).status_code == 404
        assert (await http.post(f"{KEYS}/{theirs.id}/rotate", json={})).status_code == 404
        created = await http.post(KEYS, json={"name": "x", "organization": theirs.organization})
        assert created.status_code == 403
    assert works(sonant, theirs.text)


async def test_no_organisation_sees_the_usage_of_another(sonant: Sonant) -> None:
    mine, theirs = new_key(sonant), new_key(sonant)
    async with client(sonant.url, mine.headers) as http:
        await http.post(PATH, json=chat("hi"))

        async def rows() -> list[dict[str, Any]]:
            return list((await http.get("/v1/usage")).json()["data"])

        assert [row["key_id"] for row in await eventually(rows)] == [mine.id]
    foreign = httpx.get(f"{sonant.url}/v1/usage", params={"key_id": mine.id}, headers=theirs.headers)
    assert foreign.json()["data"] == []
