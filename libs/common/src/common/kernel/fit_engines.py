"""Whether the stores that a process was given are of a kind it can use; where waiting will not help, it says so."""

from collections.abc import Mapping

from common.bus.kafka_url import is_kafka
from common.kernel.settings import CommonSettings
from common.storage.redis import cluster_kind, open_redis


async def unfit(settings: CommonSettings) -> str:
    """A line that names the variable, empty where nothing is wrong. Raises `storage.redis.UNAVAILABLE`.

    A cluster spreads keys over servers, and a Sentinel has none: commands of ours would fail for good.
    """
    for variable, url in _stores(settings).items():
        async with open_redis(url, connections=1) as redis:
            if kind := await cluster_kind(redis):
                return f"{variable} is a Redis {kind.capitalize()}; expected is the address of a single server"
    return ""


def _stores(settings: CommonSettings) -> Mapping[str, str]:
    stores = {"SONANT_REDIS_URL": settings.redis_url, "SONANT_LOG_URL": settings.log_url}
    return {variable: url for variable, url in stores.items() if not is_kafka(url)}
