"""Who answers a request, and how it ended: the little of a turn that must outlive its process.

In the live store a turn is one key: first its owner, then whether anything was sent, at last the fact, with the frames
beside it. So a redelivered request is answered once, and a finished answer can be read again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

import orjson

from common.bus.live.frames import Frame
from common.bus.live.kept_answers import ENDED_PREFIX, TURN_PREFIX, audience_of, pack_ended, unpack_ended
from common.bus.live.writer import LiveWriter
from common.events.chat import AnswerRequested, ChatReplyRequested
from common.events.embeddings import EmbeddingsRequested
from common.events.envelope import Event
from common.events.record import Record
from llm_stream.answer.backlog import Backlog
from llm_stream.turns.kept_answers_quota import KeptAnswers

# What a frame takes in the store beside its payload: its lengths and the id of its request.
FRAME_OVERHEAD = 51

# What a turn answers.
RequestEvent: TypeAlias = Event[ChatReplyRequested] | Event[EmbeddingsRequested]


class Claim(Enum):
    """What claiming a request came to, where its turn has not ended before."""

    OURS = auto()
    # Another instance is answering.
    TAKEN = auto()
    # The request was never accepted: nobody is to answer.
    WITHDRAWN = auto()
    # Its answerer died after the client had heard something.
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn that ended before: its fact and its frames."""

    fact: Record
    frames: list[Frame]


Claimed: TypeAlias = Claim | Ended


class Claims:
    """The keys of turns in the live store. `owner` is our own mailbox: others tell by it whether we still live."""

    def __init__(self, live: LiveWriter, *, owner: str, keep_seconds: int, quota: KeptAnswers | None = None) -> None:
        self._live = live
        self._quota = quota or KeptAnswers()
        self._owner = owner
        self._keep_seconds = keep_seconds

    async def claim(self, event: RequestEvent) -> Claimed:
        """Try to become the one who answers; to be called by one turn of this process at a time.

        Raises BusUnavailableError, and may then be tried again: a claim of our own is one whose acknowledgement was
        lost.
        """
        request = event.payload
        key = TURN_PREFIX + request.request_id
        lives = max(1, int((event.deadline or time.time()) - time.time())) + self._keep_seconds
        ours = orjson.dumps({"owner": self._owner})
        former = await self._live.command("SET", key, ours, "NX", "GET", "EX", lives)
        if former is None:
            return Claim.OURS
        state = orjson.loads(former)
        if "fact" in state:
            fact = Record(**state["fact"] | {"value": state["fact"]["value"].encode()})
            return Ended(fact, await self._kept_frames(request))
        if state.get("withdrawn"):
            return Claim.WITHDRAWN
        if state["owner"] != self._owner and await self._live.listening(state["owner"]):
            return Claim.TAKEN
        if state.get("released"):
            return Claim.LOST
        await self._live.command("SET", key, ours, "EX", lives)
        return Claim.OURS

    async def _kept_frames(self, request: AnswerRequested) -> list[Frame]:
        stored = await self._live.command("GET", ENDED_PREFIX + request.request_id)
        return unpack_ended(stored, audience_of(request.org_id, stream=request.stream)) or []

    def note_released(self, request_id: str) -> None:
        """From here on a crash must not start the answer over. Precedes the first frame on the same connection."""
        self._note(request_id, "released")

    def note_withdrawn(self, request_id: str) -> None:
        """The request was never accepted: whoever finds it again must not answer it."""
        self._note(request_id, "withdrawn")

    def _note(self, request_id: str, what: str) -> None:
        state = orjson.dumps({"owner": self._owner, what: True})
        self._live.queue_command("SET", TURN_PREFIX + request_id, state, "XX", "KEEPTTL")

    def note_ended(self, request: AnswerRequested, backlog: Backlog, fact: Record) -> None:
        """The turn is over; precedes its last frames on the same connection.

        Where not all frames are there, or there is no room for them, only the last one is kept.
        """
        frames: Sequence[Frame] = backlog.kept
        state = {
            "fact": {
                "topic": fact.topic,
                "key": fact.key,
                "value": fact.value.decode(),
                "headers": dict(fact.headers),
            },
        }
        keep = ("EX", self._keep_seconds)
        self._live.queue_command("SET", TURN_PREFIX + request.request_id, orjson.dumps(state), *keep)
        size = backlog.kept_bytes + FRAME_OVERHEAD * len(frames)
        if backlog.forgotten or not self._quota.admits(request.org_id, size):
            frames = frames[-1:]
        stored = pack_ended(frames, audience_of(request.org_id, stream=request.stream))
        self._live.queue_command("SET", ENDED_PREFIX + request.request_id, stored, *keep)
