"""Everybody who makes videos, as the settings name them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from common.jobs.callback_token import token
from common.providers.addresses import AddressRules, networks
from common.providers.guarded_http import GuardedHttp, open_guarded_http
from common.providers.provider_registry import ProviderRegistry
from common.secret_box import secret_keys
from media.adapters.images_by_url import ImagesByUrl
from media.adapters.runware import PROVIDER, Runware, open_session, runware_policy
from media.ports import VideoProvider, VideoStudio
from media.settings import MediaSettings

SANDBOX = "sandbox"
# Where the sandbox may be: on this machine, or beside us in a private network.
SANDBOX_NETWORKS = networks("127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fd00::/8")


@asynccontextmanager
async def open_video_studio(
    settings: MediaSettings, registry: ProviderRegistry, public: GuardedHttp
) -> AsyncIterator[VideoStudio]:
    """The providers; Runware by its key, or the sandbox in its place, or not at all."""
    async with AsyncExitStack() as stack:
        providers: dict[str, VideoProvider] = {}
        runware = await _runware(stack, settings, registry, public)
        if runware is not None:
            providers[PROVIDER] = runware
        keys = secret_keys(settings.secret_keys.get_secret_value())

        def callback_of(job_id: str) -> str | None:
            if settings.public_url is None or not keys:
                return None
            return f"{settings.public_url.rstrip('/')}/webhooks/runware/{token(keys, job_id)}"

        yield VideoStudio(
            order=settings.video_order,
            providers=providers,
            images=ImagesByUrl(public),
            callback_of=callback_of,
            wait_seconds=settings.video_wait_seconds,
        )


async def _runware(
    stack: AsyncExitStack, settings: MediaSettings, registry: ProviderRegistry, public: GuardedHttp
) -> Runware | None:
    key, name, url, files = settings.runware_api_key.get_secret_value(), PROVIDER, settings.runware_base_url, public
    if not key and settings.sandbox_url:
        key, name, url = SANDBOX, SANDBOX, f"{settings.sandbox_url}/runware/v1"
        port = urlsplit(settings.sandbox_url).port or 80
        rules = AddressRules(allow=SANDBOX_NETWORKS, ports=frozenset({port}))
        files = await stack.enter_async_context(open_guarded_http(rules))
    policy = runware_policy(configured=bool(key), registry=registry)
    if not key:
        return None
    session = await stack.enter_async_context(open_session())
    return Runware(session, files, url=url, key=key, name=name, policy=policy)
