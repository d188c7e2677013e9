"""What the live store keeps of answers."""

from common.bus.live.frames import Frame
from common.bus.live.kept_answers import ENDED_PREFIX, TURN_PREFIX, unpack_ended
from common.bus.live.writer import LiveWriter


class LiveAnswers:
    """The `AnswerStore` on the live store."""

    def __init__(self, live: LiveWriter) -> None:
        self._live = live

    async def frames(self, request_id: str, audience: str) -> list[Frame]:
        return unpack_ended(await self._live.command("GET", ENDED_PREFIX + request_id), audience) or []

    async def begun(self, request_id: str) -> bool:
        return bool(await self._live.command("EXISTS", TURN_PREFIX + request_id))
