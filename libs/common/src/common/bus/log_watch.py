"""Whether the log answers, for the readiness of a process that publishes and never reads."""

import asyncio

from common.bus.port import BusUnavailableError, Log

# Often enough for a balancer to turn away in time; on Kafka each check is a new connection.
CHECK_EVERY_SECONDS = 2.0


class LogWatch:
    """Knows whether the log answered the last check."""

    def __init__(self) -> None:
        self._complaint: str | None = None

    def complaint(self) -> str | None:
        """Why nothing can be published at the moment, or None."""
        return self._complaint

    async def run(self, log: Log) -> None:
        """Check every `CHECK_EVERY_SECONDS` until cancelled."""
        while True:
            self._complaint = await _trouble(log)
            await asyncio.sleep(CHECK_EVERY_SECONDS)


async def _trouble(log: Log) -> str | None:
    try:
        await log.ping()
    except BusUnavailableError as error:
        return str(error)
    return None
