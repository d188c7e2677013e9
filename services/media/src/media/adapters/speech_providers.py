"""Who speaks, put together from the settings: the providers in their order, each with its policy."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from common.kernel.worker_processes import WorkerProcesses
from common.providers.openai_client import open_openai
from common.providers.policy import CallLimits, Policy
from common.providers.provider_registry import ProviderRegistry
from media.adapters import hume_speech, local_voice, openai_speech
from media.adapters.hume_speech import HumeAccount, HumeSpeech
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
# What the metrics call the account of all who have none of their own; no organisation can be called this.
REST = "-"


@asynccontextmanager
async def open_speech_providers(
    settings: MediaSettings,
    registry: ProviderRegistry,
    workers: WorkerProcesses,
    environment: Mapping[str, str] = os.environ,
) -> AsyncIterator[tuple[SpeechProvider, ...]]:
    """The providers that the settings name, in that order. The sandbox answers where none of them has a real key."""
    hume = hume_keys(settings, environment)
    openai_key = environment.get(settings.speech_key_env, "").strip() or ("none" if settings.speech_url else "")
    real = {"hume": hume.any, "openai": bool(openai_key), "local": False}
    sandbox = None if any(real[name] for name in settings.speech_order) else settings.sandbox_url
    async with AsyncExitStack() as stack:
        opened: list[SpeechProvider] = []
        for name in settings.speech_order:
            if name == "hume":
                opened.append(await _hume(settings, registry, hume, sandbox, stack))
            elif name == "openai":
                opened.append(await _openai(settings, registry, openai_key, sandbox, stack))
            else:
                policy = Policy(local_voice.PROVIDER, local_voice.verdict, limits=LOCAL_LIMITS, registry=registry)
                opened.append(LocalVoice(workers, policy, str(settings.models_dir or settings.data_dir / "models")))
        yield tuple(opened)


async def _hume(
    settings: MediaSettings,
    registry: ProviderRegistry,
    keys: "HumeKeys",
    sandbox: str | None,
    stack: AsyncExitStack,
) -> SpeechProvider:
    stands_in = not keys.any and sandbox is not None

    def account(org_id: str, key: str) -> HumeAccount:
        policy = Policy(
            hume_speech.PROVIDER,
            hume_speech.verdict,
            account=org_id or REST,
            configured=bool(key or stands_in),
            limits=LIMITS,
            registry=registry,
        )
        # In the sandbox as in the service that keeps the resources: an account for each that has one.
        return HumeAccount(key or (f"{SANDBOX_KEY}-{org_id}" if org_id else SANDBOX_KEY), policy)

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=LIMITS.connect_seconds, sock_read=LIMITS.first_byte_seconds
    )
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
    return HumeSpeech(
        session,
        account("", keys.shared),
        base_url=sandbox if stands_in and sandbox else settings.hume_base_url,
        own={org_id: account(org_id, key) for org_id, key in keys.own.items()},
        version=settings.hume_speech_version,
        usd_per_million=settings.hume_speech_usd,
        sandbox=stands_in,
    )


@dataclass(frozen=True, slots=True)
class HumeKeys:
    """The keys at Hume: those of organisations with an account of their own, and that of all others."""

    shared: str = field(repr=False)
    own: Mapping[str, str] = field(repr=False)

    @property
    def any(self) -> bool:
        """Whether there is a real key at all."""
        return bool(self.shared) or any(self.own.values())


def hume_keys(settings: MediaSettings, environment: Mapping[str, str]) -> HumeKeys:
    """The keys of the settings, as the service resources has them: one that an organisation owns is nobody else's."""
    shared = settings.hume_api_key.get_secret_value().strip()
    own = {}
    for entry in filter(None, (part.strip() for part in settings.hume_organizations.split(","))):
        org_id, equals, variable = (part.strip() for part in entry.partition("="))
        own[org_id] = environment.get(variable, "").strip() if equals else shared
    return HumeKeys("" if shared in own.values() else shared, own)


async def _openai(
    settings: MediaSettings, registry: ProviderRegistry, key: str, sandbox: str | None, stack: AsyncExitStack
) -> SpeechProvider:
    stands_in = not key and sandbox is not None
    policy = Policy(
        openai_speech.PROVIDER,
        openai_speech.verdict,
        account=REST,
        configured=bool(key or stands_in),
        limits=LIMITS,
        registry=registry,
    )
    # The policy tries again, within the time that its caller has.
    client = await stack.enter_async_context(
        open_openai(
            f"{sandbox}/v1" if stands_in else settings.speech_url or OPENAI_URL,
            key or SANDBOX_KEY,
            first_byte_seconds=LIMITS.first_byte_seconds,
            connect_seconds=LIMITS.connect_seconds,
        )
    )
    model = SpeechModel(settings.speech_model, settings.speech_usd, sandbox=stands_in)
    return OpenAiSpeech(client, policy, model)
