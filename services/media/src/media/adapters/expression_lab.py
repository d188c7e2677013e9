"""Everybody who measures expressions, as the settings name them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from common.jobs.callback_token import token
from common.providers.guarded_http import GuardedHttp
from common.providers.provider_registry import ProviderRegistry
from common.secret_box import secret_keys
from common.storage.model_files import YUNET, model_path
from media.adapters import hume_batch, hume_measurement
from media.adapters.hume_batch import HumeBatch
from media.adapters.hume_measurement import HumeMeasurement, measurement_policy, open_measurement_session
from media.ports import ExpressionLab
from media.settings import MediaSettings

SANDBOX = "sandbox"
DOWNLOAD_SECONDS = 600.0


class GuardedDownloads:
    """The port `Downloads`: public addresses alone, and no more than so many bytes."""

    def __init__(self, client: GuardedHttp, max_bytes: int) -> None:
        self._client = client
        self._max_bytes = max_bytes

    async def fetch(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            await self._client.download(url, file, max_bytes=self._max_bytes, seconds=DOWNLOAD_SECONDS)


@asynccontextmanager
async def open_expression_lab(
    settings: MediaSettings, registry: ProviderRegistry, public: GuardedHttp
) -> AsyncIterator[ExpressionLab]:
    """The providers; each by its key, or the sandbox in its place, or not at all."""
    models = settings.models_dir or settings.data_dir / "models"
    keys = secret_keys(settings.secret_keys.get_secret_value())

    def callback_of(job_id: str) -> str | None:
        if settings.public_url is None or not keys:
            return None
        return f"{settings.public_url.rstrip('/')}/webhooks/hume-batch/{token(keys, job_id)}"

    async with AsyncExitStack() as stack:
        yield ExpressionLab(
            order=settings.expression_order,
            files=await _files(stack, settings, registry),
            batch=await _batch(stack, settings, registry),
            downloads=GuardedDownloads(public, settings.max_expression_bytes),
            face_model=lambda: model_path(models, YUNET),
            callback_of=callback_of,
            max_seconds=settings.max_expression_seconds,
            wait_seconds=settings.expression_wait_seconds,
        )


async def _files(stack: AsyncExitStack, settings: MediaSettings, registry: ProviderRegistry) -> HumeMeasurement | None:
    key, name, url = settings.hume_measurement_key.get_secret_value(), "hume", settings.hume_measurement_url
    if not key and settings.sandbox_url:
        key, name, url = SANDBOX, SANDBOX, settings.sandbox_url
    limits = hume_measurement.LIMITS
    policy = measurement_policy(hume_measurement.PROVIDER, limits, configured=bool(key), registry=registry)
    if not key:
        return None
    session = await stack.enter_async_context(open_measurement_session(limits))
    return HumeMeasurement(session, url=url, key=key, name=name, policy=policy)


async def _batch(stack: AsyncExitStack, settings: MediaSettings, registry: ProviderRegistry) -> HumeBatch | None:
    key, name, url = settings.hume_batch_key.get_secret_value(), "hume-batch", settings.hume_batch_url
    if not key and settings.sandbox_url:
        key, name, url = SANDBOX, SANDBOX, settings.sandbox_url
    limits = hume_batch.LIMITS
    policy = measurement_policy(hume_batch.PROVIDER, limits, configured=bool(key), registry=registry)
    if not key:
        return None
    session = await stack.enter_async_context(open_measurement_session(limits))
    return HumeBatch(session, url=url, key=key, name=name, policy=policy)
