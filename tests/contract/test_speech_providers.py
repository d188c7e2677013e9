"""The providers of speech keep their contract, and sort what goes wrong by what to do about it."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.events.backoff import NEVER
from common.failures import ProviderDown, Refused
from common.kernel.worker_processes import WorkerProcesses, open_workers
from common.providers.breaker import Breaker
from common.providers.openai_client import open_openai
from common.providers.policy import CallLimits, Policy
from media.adapters import hume_speech, local_voice, openai_speech
from media.adapters.hume_speech import HumeAccount, HumeSpeech
from media.adapters.local_voice import LocalVoice
from media.adapters.openai_speech import OpenAiSpeech, SpeechModel
from media.adapters.sound_workers import SPEAKER, SPEAKER_LIMITS
from media.adapters.speech_providers import hume_keys
from media.settings import MediaSettings
from media.speech_ports import SpeechProvider, Voice
from sandbox.app import serve
from tests.contract.speech_contract import SAID, SpeechContract, refused, utterance

Arrange = Callable[..., Awaitable[None]]
Charges = Callable[[str], Awaitable[dict[str, int]]]
ONCE = CallLimits(retries=NEVER, total_seconds=1.0)


def policy(name: str, verdict: Any, **limits: Any) -> Policy:
    """A policy whose breaker stays closed, whatever a test does."""
    return Policy(name, verdict, limits=CallLimits(**limits) if limits else ONCE, breaker=Breaker(failures=10**9))


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[str]:
    async with serve() as url:
        yield url


@pytest.fixture(scope="module")
async def http(sandbox: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox) as session:
        yield session


@pytest.fixture
def charges(http: aiohttp.ClientSession) -> Charges:
    async def look(provider: str) -> dict[str, int]:
        async with http.get("/sandbox/speech/charges") as answer:
            told = await answer.json()
        return {"calls": 0, **told.get(provider, {})}

    return look


@pytest.fixture(scope="module")
async def workers() -> AsyncIterator[WorkerProcesses]:
    async with open_workers((SPEAKER,), size=1, limits=SPEAKER_LIMITS) as workers:
        yield workers


class TestHume(SpeechContract):
    @pytest.fixture
    def account(self) -> str:
        return f"key-{uuid.uuid4().hex}"

    @pytest.fixture
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession() as session:
            yield session

    @pytest.fixture
    async def provider(self, sandbox: str, session: aiohttp.ClientSession, account: str) -> HumeSpeech:
        own = policy(hume_speech.PROVIDER, hume_speech.verdict)
        return HumeSpeech(session, HumeAccount(account, own), base_url=sandbox, usd_per_million=100.0)

    @pytest.fixture
    def arrange(self, http: aiohttp.ClientSession, account: str) -> Arrange:
        async def put(*faults: str) -> None:
            order = {"faults": [{"do": fault} for fault in faults]}
            async with http.put(f"/sandbox/hume/accounts/{account}", json=order) as answer:
                assert answer.status == 200

        return put

    async def test_it_says_what_it_costs_and_how_it_is_called(self, provider: HumeSpeech) -> None:
        sound = await provider.speak(utterance())
        assert sound.rate == 48_000
        assert sound.cost_usd == pytest.approx(len(SAID) * 100 / 1_000_000)
        assert uuid.UUID(sound.reference)

    @pytest.mark.parametrize(
        "fault",
        [
            "error-line",
            "no-last",
            "truncated",
            "reset",
            "silence",
            "html-200",
            "html-502",
            "null",
            "empty-500",
            "status-401",
            "status-402",
            "status-403",
            "status-410",
            "status-429",
            "status-503",
            "zero-credits",
            "lost",
        ],
    )
    async def test_what_is_not_the_callers_fault_is_the_providers(
        self, provider: HumeSpeech, arrange: Arrange, fault: str
    ) -> None:
        await arrange(fault)
        with pytest.raises(ProviderDown):
            await provider.speak(utterance())
        assert (await provider.speak(utterance())).samples

    async def test_a_failure_that_passes_is_tried_again(self, sandbox: str, session: aiohttp.ClientSession) -> None:
        key = f"key-{uuid.uuid4().hex}"
        own = policy(hume_speech.PROVIDER, hume_speech.verdict, total_seconds=5.0)
        patient = HumeSpeech(session, HumeAccount(key, own), base_url=sandbox)
        order = {"faults": [{"do": "status-503"}]}
        async with session.put(f"{sandbox}/sandbox/hume/accounts/{key}", json=order):
            pass
        assert (await patient.speak(utterance())).samples

    async def test_a_voice_that_it_does_not_have_is_named(self, provider: HumeSpeech) -> None:
        voice = Voice("nobody", "Nobody", {"hume": "Nobody"}, library="CUSTOM_VOICE")
        unknown = utterance()
        await refused(
            lambda: provider.speak(type(unknown)(unknown.org_id, SAID, voice, "", 1.0, unknown.until)),
            404,
            "voice_not_found",
        )

    async def test_a_text_that_it_refuses_is_the_callers(self, provider: HumeSpeech) -> None:
        await refused(lambda: provider.speak(utterance("x" * 5_001)), 400, "refused_by_provider")


class TestOpenAi(SpeechContract):
    @pytest.fixture
    async def provider(self, sandbox: str) -> AsyncIterator[SpeechProvider]:
        async with AsyncExitStack() as stack:
            yield await self.speaking(stack, f"{sandbox}/v1", "gpt-4o-mini-tts")

    async def speaking(self, stack: AsyncExitStack, url: str, model: str) -> OpenAiSpeech:
        client = await stack.enter_async_context(open_openai(url, "sk-any", first_byte_seconds=2, connect_seconds=2))
        # What loading the package takes is not the provider's time.
        await client.ready()
        own = policy(openai_speech.PROVIDER, openai_speech.verdict)
        return OpenAiSpeech(client, own, SpeechModel(model, 15.0))

    @pytest.mark.parametrize(
        "fault",
        [
            "status-401",
            "status-403",
            "status-404",
            "status-429-ra-1",
            "status-500",
            "html-502",
            "quota",
            "reset",
            "silence",
            "silence-after-headers",
            "reset-after-1",
            "drop-after-1",
            "stall-after-1",
        ],
    )
    async def test_what_is_not_the_callers_fault_is_the_providers(self, sandbox: str, fault: str) -> None:
        async with AsyncExitStack() as stack:
            broken = await self.speaking(stack, f"{sandbox}/v1", f"gpt-4o-mini-tts+{fault}")
            with pytest.raises(ProviderDown):
                await broken.speak(utterance())

    @pytest.mark.parametrize(
        ("body", "kind"),
        [(b'{"error":{"message":"no"}}', "application/json"), (b"<html>", "text/html"), (b"", "audio/pcm")],
    )
    async def test_an_error_inside_a_200_is_an_error(self, body: bytes, kind: str) -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type=kind)

        app = web.Application()
        app.router.add_post("/v1/audio/speech", answer)
        async with TestServer(app) as server, AsyncExitStack() as stack:
            odd = await self.speaking(stack, str(server.make_url("/v1")), "tts-1")
            with pytest.raises(ProviderDown):
                await odd.speak(utterance())

    async def test_a_text_that_it_refuses_is_the_callers(self, provider: SpeechProvider) -> None:
        await refused(lambda: provider.speak(utterance("x" * 4_097)), 400, "refused_by_provider")


class TestLocal(SpeechContract):
    seconds = (1.0, 5.0)

    @pytest.fixture
    async def provider(self, workers: WorkerProcesses) -> LocalVoice:
        own = policy(local_voice.PROVIDER, local_voice.verdict, retries=NEVER, total_seconds=60.0)
        return LocalVoice(workers, own, "")

    async def test_the_same_text_gives_the_same_sound(self, provider: LocalVoice) -> None:
        assert (await provider.speak(utterance())).samples == (await provider.speak(utterance())).samples

    async def test_what_it_has_no_sounds_for_is_refused(self, provider: LocalVoice) -> None:
        chinese = utterance("\u4f60\u597d\uff0c\u4e16\u754c\u3002")
        await refused(lambda: provider.speak(chinese), 422, "language_not_spoken")

    async def test_a_missing_engine_is_a_clear_message(self) -> None:
        own = policy(local_voice.PROVIDER, local_voice.verdict, retries=NEVER, total_seconds=60.0)
        async with open_workers(("tests.support.no_hibari",), size=1, limits=SPEAKER_LIMITS) as workers:
            with pytest.raises(ProviderDown, match="not installed"):
                await LocalVoice(workers, own, "").speak(utterance())


async def test_a_provider_without_a_key_is_not_asked(sandbox: str, charges: Charges) -> None:
    before = await charges("hume")
    own = Policy(hume_speech.PROVIDER, hume_speech.verdict, configured=False)
    async with aiohttp.ClientSession() as session:
        provider = HumeSpeech(session, HumeAccount("", own), base_url=sandbox)
        assert not provider.serves("org-1")
        with pytest.raises(Refused, match="No key"):
            await provider.speak(utterance())
    assert await charges("hume") == before


async def test_an_organisation_speaks_with_its_own_account(http: aiohttp.ClientSession, sandbox: str) -> None:
    keys = [f"key-{uuid.uuid4().hex}" for _ in range(2)]
    shared, own = (HumeAccount(key, policy(hume_speech.PROVIDER, hume_speech.verdict)) for key in keys)

    async def requests(key: str) -> int:
        async with http.get(f"/sandbox/hume/accounts/{key}") as answer:
            return int((await answer.json())["requests"])

    async with aiohttp.ClientSession() as session:
        provider = HumeSpeech(session, shared, base_url=sandbox, own={"org-1": own})
        await provider.speak(utterance())
    assert [await requests(key) for key in keys] == [0, 1]


@pytest.mark.parametrize(
    ("settings", "shared", "own"),
    [
        ({}, "", {}),
        ({"hume_api_key": "k"}, "k", {}),
        ({"hume_api_key": "k", "hume_organizations": "acme"}, "", {"acme": "k"}),
        ({"hume_api_key": "k", "hume_organizations": "acme=ACME, b=MISSING"}, "k", {"acme": "a", "b": ""}),
    ],
)
def test_a_key_that_an_organisation_owns_is_nobody_elses(
    settings: dict[str, Any], shared: str, own: dict[str, str]
) -> None:
    keys = hume_keys(MediaSettings(**settings), {"ACME": "a"})
    assert (keys.shared, keys.own) == (shared, own)
