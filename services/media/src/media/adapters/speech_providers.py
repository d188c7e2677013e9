"""Who speaks, put together from the settings: the providers in their order, each with its policy."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import openai

from common.kernel.worker_processes import WorkerProcesses
from common.providers.policy import CallLimits, Policy
from common.providers.provider_registry import ProviderRegistry
from media.adapters import hume_speech, local_voice, openai_speech
from media.adapters.hume_speech import HumeSpeech
from media.adapters.local_voice import LocalVoice
from media.adapters.openai_speech import OpenAiSpeech, SpeechModel
from media.settings import MediaSettings
from media.speech_ports import SpeechProvider

# The stand-in takes any key.
SANDBOX_KEY = "sandbox"
OPENAI_URL = "https://api.openai.com/v1"
# A piece of 400 characters is spoken in a few seconds; several tries and another provider must fit into an answer.
LIMITS = CallLimits(connect_seconds=2.0, first_byte_seconds=10.0, total_seconds=30.0, concurrency=16)
LOCAL_LIMITS = CallLimits(total_seconds=60.0, concurrency=64)


@asynccontextmanager
async def open_speech_providers(
    settings: MediaSettings,
    registry: ProviderRegistry,
    workers: WorkerProcesses,
    environment: Mapping[str, str] = os.environ,
) -> AsyncIterator[tuple[SpeechProvider, ...]]:
    """The providers that the settings name, in that order. The sandbox answers where none of them has a real key."""
    keys = {
        "hume": settings.hume_api_key.get_secret_value().strip(),
        "openai": environment.get(settings.speech_key_env, "").strip() or ("none" if settings.speech_url else ""),
    }
    sandbox = settings.sandbox_url if not any(keys[name] for name in settings.speech_order if name in keys) else None
    async with AsyncExitStack() as stack:
        opened: list[SpeechProvider] = []
        for name in settings.speech_order:
            if name == "hume":
                opened.append(await _hume(settings, registry, keys["hume"], sandbox, stack))
            elif name == "openai":
                opened.append(await _openai(settings, registry, keys["openai"], sandbox, stack))
            else:
                policy = Policy(local_voice.PROVIDER, local_voice.verdict, limits=LOCAL_LIMITS, registry=registry)
                opened.append(LocalVoice(workers, policy, str(settings.models_dir or settings.data_dir / "models")))
        yield tuple(opened)


async def _hume(
    settings: MediaSettings, registry: ProviderRegistry, key: str, sandbox: str | None, stack: AsyncExitStack
) -> SpeechProvider:
    stands_in = not key and sandbox is not None
    policy = Policy(
        hume_speech.PROVIDER,
        hume_speech.verdict,
        account="speech",
        configured=bool(key or stands_in),
        limits=LIMITS,
        registry=registry,
    )
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=LIMITS.connect_seconds, sock_read=LIMITS.first_byte_seconds
    )
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
    return HumeSpeech(
        session,
        policy,
        base_url=sandbox if stands_in and sandbox else settings.hume_base_url,
        api_key=key or SANDBOX_KEY,
        version=settings.hume_speech_version,
        usd_per_million=settings.hume_speech_usd,
        sandbox=stands_in,
    )


async def _openai(
    settings: MediaSettings, registry: ProviderRegistry, key: str, sandbox: str | None, stack: AsyncExitStack
) -> SpeechProvider:
    stands_in = not key and sandbox is not None
    policy = Policy(
        openai_speech.PROVIDER,
        openai_speech.verdict,
        account="speech",
        configured=bool(key or stands_in),
        limits=LIMITS,
        registry=registry,
    )
    timeout = openai.Timeout(LIMITS.first_byte_seconds, connect=LIMITS.connect_seconds)
    client = await stack.enter_async_context(
        openai.AsyncOpenAI(
            # The package insists on one, and many local servers take any.
            api_key=key or SANDBOX_KEY,
            base_url=f"{sandbox}/v1" if stands_in else settings.speech_url or OPENAI_URL,
            timeout=timeout,
            # The policy tries again, within the time that its caller has.
            max_retries=0,
        )
    )
    model = SpeechModel(settings.speech_model, settings.speech_usd, sandbox=stands_in)
    return OpenAiSpeech(client, policy, model)
