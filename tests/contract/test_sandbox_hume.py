"""The Hume stand-in keeps the provider's contract, as seen by the package `hume` itself."""

import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from hume import AsyncHumeClient
from hume.core.api_error import ApiError
from hume.empathic_voice.errors import BadRequestError
from hume.empathic_voice.types import WebhookEventChatEnded
from hume.tts.errors import BadRequestError as BadSpeechRequest
from hume.tts.errors import UnprocessableEntityError
from pydantic import ValidationError

from sandbox.app import serve
from sandbox.hume.webhooks import sign

ONCE: Any = {"max_retries": 0, "timeout_in_seconds": 2}
KINDS = ("prompt", "tool", "config")
CONTENT: dict[str, dict[str, Any]] = {
    "prompt": {"text": "Be brief."},
    "tool": {"parameters": '{"type":"object","properties":{}}'},
    "config": {"evi_version": "3"},
}

Arrange = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with serve() as address:
        yield address


@pytest.fixture(scope="module")
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        yield session


@pytest.fixture
def key() -> str:
    return f"key-{uuid.uuid4().hex}"


@pytest.fixture
async def hume(url: str, key: str) -> AsyncIterator[AsyncHumeClient]:
    async with httpx.AsyncClient(timeout=5) as transport:
        yield AsyncHumeClient(base_url=url, api_key=key, httpx_client=transport)


@pytest.fixture
def arrange(http: aiohttp.ClientSession, key: str) -> Arrange:
    async def put(*faults: dict[str, Any], **more: Any) -> dict[str, Any]:
        async with http.put(f"/sandbox/hume/accounts/{key}", json={"faults": list(faults), **more}) as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())

    return put


class Resources:
    """The nine operations of one kind, by the client's own names."""

    def __init__(self, hume: AsyncHumeClient, kind: str) -> None:
        self.kind = kind
        self._client = getattr(hume.empathic_voice, f"{kind}s")
        self.content = CONTENT[kind]

    def __getattr__(self, operation: str) -> Any:
        name = {"list": f"list_{self.kind}s", "list_versions": f"list_{self.kind}_versions"}.get(operation)
        verb, _, rest = operation.partition("_")
        return getattr(self._client, name or "_".join(part for part in (verb, self.kind, rest) if part))

    async def versions(self, id: str, **options: Any) -> list[Any]:
        answer = await self.list_versions(id, **options)
        if self.kind == "prompt":
            return list(answer.prompts_page)
        return [each async for each in answer]

    async def new(self, name: str, **more: Any) -> Any:
        return await self.create(name=name, **self.content, **more, request_options=ONCE)


@pytest.fixture(params=KINDS)
def resources(hume: AsyncHumeClient, request: pytest.FixtureRequest) -> Resources:
    return Resources(hume, request.param)


async def test_a_resource_lives_through_its_nine_operations(resources: Resources) -> None:
    first = await resources.new("greeter", version_description="one")
    assert (first.version, first.name, first.version_description) == (0, "greeter", "one")
    assert uuid.UUID(first.id)
    assert first.created_on > 1_600_000_000_000
    second = await resources.create_version(first.id, **resources.content)
    assert (second.id, second.version, second.name) == (first.id, 1, "greeter")
    assert await resources.update_name(first.id, name="host") == ""
    described = await resources.update_description(first.id, 1, version_description="two")
    assert (described.version_description, described.name) == ("two", "host")
    assert (await resources.get_version(first.id, 0)).version_description == "one"
    assert [each.version for each in await resources.versions(first.id)] == [1, 0]
    assert [each.version async for each in await resources.list()] == [1]
    assert [each.version async for each in await resources.list(restrict_to_most_recent=False)] == [1, 0]
    await resources.delete_version(first.id, 1)
    assert [each.version async for each in await resources.list()] == [0]
    assert (await resources.create_version(first.id, **resources.content)).version == 2, "numbers are never given twice"
    await resources.delete(first.id)
    assert [each async for each in await resources.list()] == []


async def test_deleting_every_version_deletes_the_resource(resources: Resources) -> None:
    made = await resources.new("short-lived")
    await resources.delete_version(made.id, 0)
    with pytest.raises(ApiError) as gone:
        await resources.versions(made.id)
    assert gone.value.status_code == 404


async def test_pages_count_from_zero_and_end_with_an_empty_one(resources: Resources) -> None:
    names = [f"n{index}" for index in range(5)]
    for name in names:
        await resources.new(name)
    listed = [each.name async for each in await resources.list(page_size=2)]
    assert listed == names[::-1], "newest first, and the client's pager ends"
    beyond = await resources.list(page_number=3, page_size=2)
    assert beyond.items == []
    assert beyond.response.total_pages == 3
    filtered = await resources.list(name="n3")
    assert [each.name for each in filtered.items] == ["n3"]


@pytest.mark.parametrize("query", [{"page_size": 0}, {"page_size": 101}, {"page_number": -1}])
async def test_pages_out_of_range_are_refused(resources: Resources, query: dict[str, int]) -> None:
    with pytest.raises(BadRequestError) as refused:
        await resources.list(**query)
    assert refused.value.body.code == "E0102"


async def test_names_are_unique_unless_the_account_allows_more(resources: Resources, arrange: Arrange) -> None:
    made = await resources.new("only-one")
    other = await resources.new("other")
    for taken in (resources.new("only-one"), resources.update_name(other.id, name="only-one", request_options=ONCE)):
        with pytest.raises(ApiError) as refused:
            await taken
        assert refused.value.status_code == 409
    await resources.update_name(made.id, name="only-one")
    await arrange(duplicates="allow")
    assert (await resources.new("only-one")).id != made.id


async def test_accounts_do_not_see_each_other(url: str, resources: Resources) -> None:
    made = await resources.new("mine")
    async with httpx.AsyncClient() as transport:
        stranger = Resources(AsyncHumeClient(base_url=url, api_key="stranger", httpx_client=transport), resources.kind)
        assert [each async for each in await stranger.list()] == []
        with pytest.raises(ApiError) as refused:
            await stranger.versions(made.id)
    assert refused.value.status_code == 404


@pytest.mark.parametrize("path", ["not-a-uuid", "../configs/x?y=1&z="])
async def test_an_id_that_is_no_uuid_is_refused(resources: Resources, path: str) -> None:
    with pytest.raises(ApiError) as refused:
        await resources.versions(path)
    assert refused.value.status_code in (400, 404)


REFUSED: dict[str, list[dict[str, Any]]] = {
    "prompt": [{"text": 1}, {"text": "x", "prompt_expansion": {"enabled": "yes"}}],
    "tool": [{"parameters": "{"}, {"parameters": "[]"}, {"parameters": "{}", "description": 1}],
    "config": [
        {"evi_version": "2"},
        {"evi_version": "3", "language_model": {"model_provider": "NOBODY", "model_resource": "m"}},
        {"evi_version": "3", "language_model": {"model_provider": "X_AI", "model_resource": "m", "temperature": 1.1}},
        {"evi_version": "3", "turn_detection": {"end_of_turn_silence_ms": 499}},
        {"evi_version": "3", "turn_detection": {"prefix_padding_ms": 1001}},
        {"evi_version": "3", "turn_detection": {"speech_detection_threshold": 2}},
        {"evi_version": "3", "interruption": {"min_interruption_ms": 2001}},
        {"evi_version": "3", "voice": {"provider": "HUME_AI"}},
        {"evi_version": "3", "webhooks": [{"url": "http://plain", "events": []}]},
        {"evi_version": "3", "tools": [{"id": "11111111-1111-4111-8111-111111111111"}]},
        {"evi_version": "3", "builtin_tools": [{"name": "fly"}]},
        {},
    ],
}


async def test_bodies_out_of_range_are_refused(http: aiohttp.ClientSession, key: str) -> None:
    for kind, bodies in REFUSED.items():
        for body in bodies:
            headers = {"X-Hume-Api-Key": key}
            async with http.post(f"/v0/evi/{kind}s", json={"name": "n", **body}, headers=headers) as response:
                assert response.status == 400, (kind, body)
                assert set(await response.json()) == {"code", "error", "message"}


async def test_a_config_comes_back_with_what_it_refers_to(hume: AsyncHumeClient) -> None:
    prompt, tool = await Resources(hume, "prompt").new("p"), await Resources(hume, "tool").new("t")
    assert prompt.version_type == "FIXED"
    assert (tool.tool_type, tool.parameters) == ("FUNCTION", CONTENT["tool"]["parameters"])
    config = await hume.empathic_voice.configs.create_config(
        name="c",
        evi_version="3",
        prompt={"id": prompt.id, "version": 0},
        tools=[{"id": tool.id}],
        voice={"provider": "HUME_AI", "name": "Ava Song"},
        webhooks=[{"url": "https://x", "events": ["chat_ended"]}],
    )
    assert config.prompt is not None
    assert (config.prompt.text, config.prompt.version_type) == ("Be brief.", "FIXED")
    assert config.tools is not None
    assert config.tools[0] is not None
    assert config.tools[0].version_type == "LATEST"
    assert config.voice is not None
    assert config.voice.name == "Ava Song"
    assert config.timeouts is not None
    await hume.empathic_voice.tools.delete_tool(tool.id)
    left = await hume.empathic_voice.configs.get_config_version(str(config.id), 0)
    assert left.tools == [None]


async def test_voices_are_listed_by_provider_and_deleted_by_name(hume: AsyncHumeClient) -> None:
    voices = hume.tts.voices
    library = [each async for each in await voices.list(provider="HUME_AI", page_size=3)]
    assert len(library) == 13
    women = [each async for each in await voices.list(provider="HUME_AI", filter_tag="GENDER:FEMALE")]
    assert {each.name for each in women} == {"Ava Song", "Quiet Harbour"}
    assert [each async for each in await voices.list(provider="CUSTOM_VOICE")] == []
    made = await voices.create(generation_id="g1", name="My Voice")
    assert (made.provider, made.name) == ("CUSTOM_VOICE", "My Voice")
    with pytest.raises(ApiError) as taken:
        await voices.create(generation_id="g1", name="My Voice", request_options=ONCE)
    assert taken.value.status_code == 409
    await voices.delete(name="My Voice")
    with pytest.raises(ApiError) as gone:
        await voices.delete(name="My Voice")
    assert gone.value.status_code == 404
    with pytest.raises(UnprocessableEntityError):
        await voices.create(generation_id="", name="x")
    with pytest.raises(BadSpeechRequest):
        await voices.list(provider=None)


async def test_keys_are_checked(url: str, http: aiohttp.ClientSession) -> None:
    for wrong in (None, "hume-invalid"):
        async with httpx.AsyncClient() as transport:
            stranger = AsyncHumeClient(base_url=url, api_key=wrong, httpx_client=transport)
            with pytest.raises(ApiError) as refused:
                await stranger.empathic_voice.prompts.list_prompts()
        assert refused.value.status_code == 401
        assert refused.value.body["fault"]["detail"]["errorcode"]
    async with http.get("/v0/evi/nothing", headers={"X-Hume-Api-Key": "k"}) as response:
        assert response.status == 404
        assert set(await response.json()) == {"code", "error", "message"}


async def test_a_token_stands_for_its_account(
    url: str, http: aiohttp.ClientSession, hume: AsyncHumeClient, key: str
) -> None:
    await Resources(hume, "prompt").new("mine")
    basic = base64.b64encode(f"{key}:secret".encode()).decode()
    grant: dict[str, Any] = {
        "data": {"grant_type": "client_credentials"},
        "headers": {"Authorization": f"Basic {basic}"},
    }
    async with http.post("/oauth2-cc/token", **grant) as response:
        answer = await response.json()
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 1800)
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    async with httpx.AsyncClient() as transport:
        client = AsyncHumeClient(base_url=url, headers=bearer, httpx_client=transport)
        assert [each.name async for each in await client.empathic_voice.prompts.list_prompts()] == ["mine"]
    for wrong in ({"Authorization": "Basic !"}, {}, {"Authorization": f"Basic {base64.b64encode(b'k:').decode()}"}):
        async with http.post("/oauth2-cc/token", data=grant["data"], headers=wrong) as response:
            assert response.status == 401
    async with http.post("/oauth2-cc/token", data={}, headers=grant["headers"]) as response:
        assert response.status == 400


async def test_a_token_lasts_as_long_as_it_was_given_for(
    http: aiohttp.ClientSession, arrange: Arrange, key: str
) -> None:
    await arrange(token_seconds=0)
    form = {"grant_type": "client_credentials", "client_id": key, "client_secret": "s"}
    async with http.post("/oauth2-cc/token", data=form) as response:
        token = (await response.json())["access_token"]
    async with http.get("/v0/evi/prompts", headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 401


async def test_an_empty_error_looks_like_success_to_the_client(hume: AsyncHumeClient, arrange: Arrange) -> None:
    await arrange({"do": "empty-401", "times": None})
    for kind in ("prompt", "tool"):
        assert await Resources(hume, kind).new("n") is None
    with pytest.raises(ApiError):
        await Resources(hume, "config").new("n")


async def test_a_slow_body_is_whole_in_the_end(hume: AsyncHumeClient, arrange: Arrange) -> None:
    await arrange({"do": "slow-5", "times": None})
    assert (await Resources(hume, "prompt").new("n")).name == "n"
    assert [each.name async for each in await Resources(hume, "prompt").list()] == ["n"]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("status-503", ApiError),
        ("status-429-ra-1", ApiError),
        ("status-410", ApiError),
        ("html-502", ApiError),
        ("html-200", ApiError),
        ("null", ValidationError),
        ("reset", httpx.HTTPError),
        ("silence", httpx.ReadTimeout),
        ("truncated", httpx.HTTPError),
        ("lost", httpx.HTTPError),
        ("lost-silence", httpx.ReadTimeout),
    ],
)
async def test_faults_come_once_and_only_the_late_ones_follow_the_work(
    hume: AsyncHumeClient, arrange: Arrange, fault: str, raised: type[Exception]
) -> None:
    await arrange({"do": fault, "method": "POST", "path": "/v0/evi/configs"})
    configs = Resources(hume, "config")
    impatient = {"max_retries": 0, "timeout_in_seconds": 1}
    with pytest.raises(raised):
        await configs.create(name="n", evi_version="3", request_options=impatient)
    done = [each.name async for each in await configs.list()]
    assert done == (["n"] if fault.startswith(("lost", "truncated")) else [])


async def test_a_fault_may_be_asked_for_by_one_request(hume: AsyncHumeClient) -> None:
    options: Any = {"max_retries": 0, "additional_headers": {"x-sandbox-fault": "status-429-ra-7"}}
    with pytest.raises(ApiError) as refused:
        await hume.empathic_voice.configs.list_configs(request_options=options)
    assert refused.value.status_code == 429
    assert {k.lower(): v for k, v in (refused.value.headers or {}).items()}["retry-after"] == "7"


async def test_the_client_repeats_a_refused_create_three_times_unless_told(
    hume: AsyncHumeClient, arrange: Arrange
) -> None:
    await arrange({"do": "status-503-ra-1"})
    await Resources(hume, "config").create(name="n", evi_version="3")
    assert (await arrange())["requests"] == 2


async def test_a_mood_is_the_same_for_the_same_seed(http: aiohttp.ClientSession, arrange: Arrange, key: str) -> None:
    async def run() -> list[int]:
        await arrange(mood={"seed": 11, "share": 0.5})
        statuses = []
        for _ in range(30):
            try:
                async with http.get("/v0/evi/tools", headers={"X-Hume-Api-Key": key}) as response:
                    statuses.append(response.status)
                    await response.read()
            except aiohttp.ClientError:
                statuses.append(0)
        return statuses

    first = await run()
    assert 200 in first
    assert len(set(first)) > 2
    assert await run() == first


async def test_webhooks_are_signed_as_documented(http: aiohttp.ClientSession) -> None:
    body = b'{"event_name":"chat_started","chat_id":"c1"}'
    expected = "74dcb4c21d5e9b14be14967196c9eb5baa69452a19c217175c5050d0d8d382c1"
    assert sign(body, "1716244940", "test-signing-key") == expected
    received: list[tuple[bytes, dict[str, str]]] = []

    async def receive(request: web.Request) -> web.Response:
        received.append((await request.read(), dict(request.headers)))
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    event = {
        "event_name": "chat_ended",
        "chat_group_id": "g",
        "chat_id": "c",
        "end_time": 1,
        "duration_seconds": 18,
        "end_reason": "USER_ENDED",
    }
    try:
        for mode in ("signed", "bad-signature", "tampered", "stale", "future", "unsigned"):
            asked = {"url": address, "key": "k", "event": event, "mode": mode}
            async with http.post("/sandbox/hume/webhooks", json=asked) as response:
                assert (await response.json())["deliveries"][0]["status"] == 202
    finally:
        await runner.cleanup()
    assert WebhookEventChatEnded.model_validate_json(received[0][0]).duration_seconds == 18
    good = [
        "X-Hume-AI-Webhook-Timestamp" in headers
        and sign(raw, headers["X-Hume-AI-Webhook-Timestamp"], "k") == headers["X-Hume-AI-Webhook-Signature"]
        for raw, headers in received
    ]
    assert good == [True, False, False, True, True, False]


async def test_webhooks_go_to_this_machine_only(http: aiohttp.ClientSession) -> None:
    for url in ("http://192.0.2.1/x", "https://127.0.0.1/x", "file:///x", ""):
        async with http.post("/sandbox/hume/webhooks", json={"url": url, "event": {}}) as response:
            assert response.status == 400
