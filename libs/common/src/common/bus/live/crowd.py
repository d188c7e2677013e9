"""Frames that one entry of a mailbox could not hold: sent in portions, and small ones of other requests before them."""

from collections import Counter, deque

from common.bus.live.frames import Frame

# One entry holds about so much payload, unless a single frame is larger. A thousand answers that begin at once would
# make one of hundreds of megabytes, which engine and reader copy as a whole while everybody else waits.
ENTRY_BYTES = 512 * 1024
# A frame up to this size overtakes: the next words of an answer that is read as it comes.
LIGHT_BYTES = 4 * 1024


class Crowd:
    """The frames that wait for one mailbox. Those of one request keep their order."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._waiting: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._frames)

    def next(self, frames: list[Frame]) -> list[Frame]:
        """Take in what has come, and give out what goes into the next entry."""
        entry: list[Frame] = []
        size = 0
        for frame in frames:
            length = len(frame.payload)
            if length <= LIGHT_BYTES and size < ENTRY_BYTES and frame.request_id not in self._waiting:
                entry.append(frame)
                size += length
            else:
                self._frames.append(frame)
                self._waiting[frame.request_id] += 1
        while self._frames and size < ENTRY_BYTES:
            frame = self._frames.popleft()
            self._leave(frame.request_id)
            entry.append(frame)
            size += len(frame.payload)
        return entry

    def _leave(self, request_id: str) -> None:
        self._waiting[request_id] -= 1
        if not self._waiting[request_id]:
            del self._waiting[request_id]
