"""The moderation hook: what a user says is checked before a model is asked, what it answers before anybody hears it."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import orjson
import structlog

from common.events.chat import ModerationUse
from common.metrics import labelled
from llm_stream.answer.failure import AnswerFailed, bad_request, server_error
from llm_stream.answer.gate import Cut, CutShort, Look, Piece, Verdict, nobody_waits
from llm_stream.answer.in_progress import FactNotes
from llm_stream.metrics import MODERATIONS
from llm_stream.ports import ModerationUnavailable, Moderator

log = structlog.get_logger(__name__)

Stage: TypeAlias = Literal["input", "output"]
Flagged: TypeAlias = tuple[str, ...]

# Texts of one call, and characters of one text: a longer one is checked in pieces.
MAX_TEXTS = 32
MAX_CHARACTERS = 20_000
# Of what was said beside the text (reasoning, arguments), so that a word is seen whole.
BESIDE_CHARACTERS = 500
# A conversation is sent again with every turn: what was found clean is not asked about again. 64 bytes each.
MAX_CLEAN = 20_000
FILTERED = Cut("moderation", "content_filter")


class Moderation:
    """Asks the moderator. With `fails_open` texts pass while it is away; else the request is refused."""

    def __init__(self, moderator: Moderator, *, fails_open: bool) -> None:
        self._moderator = moderator
        self._fails_open = fails_open
        self._clean: OrderedDict[bytes, None] = OrderedDict()

    async def check_input(self, messages: Sequence[Any], notes: FactNotes) -> None:
        """Check what the user has said. Raises AnswerFailed: 400 `content_filter`, 503 `moderation_unavailable`."""
        texts = [piece for text in _user_texts(messages) for piece in _pieces(text)]
        unknown = {digest: text for text in texts if (digest := _digest(text)) not in self._clean}
        found = await self.flagged(list(unknown.values()), "input", notes)
        flagged = sorted({name for names in found for name in names})
        if flagged:
            message = f"The request was flagged by moderation: {', '.join(flagged)}."
            raise bad_request(400, message, param="messages", code="content_filter")

    async def flagged(self, texts: Sequence[str], stage: Stage, notes: FactNotes) -> list[Flagged]:
        """What each text is flagged for. Raises AnswerFailed (503) where the moderator is away and nothing passes."""
        found: list[Flagged] = []
        checked = unchecked = 0
        for at in range(0, len(texts), MAX_TEXTS):
            some = texts[at : at + MAX_TEXTS]
            try:
                found += await self._moderator.check(some)
                checked += len(some)
            except ModerationUnavailable as error:
                labelled(MODERATIONS, stage, "unavailable").inc()
                log.warning("moderation unavailable", stage=stage, passes=self._fails_open, error=str(error))
                if not self._fails_open:
                    raise _unavailable() from None
                found += [()] * len(some)
                unchecked += len(some)
            else:
                self._remember(some, found[at:])
        named = tuple(sorted({name for names in found for name in names}))
        labelled(MODERATIONS, stage, "flagged" if named else "clean").inc()
        _note(notes, stage, named, checked, unchecked)
        return found

    def _remember(self, texts: Sequence[str], found: Sequence[Flagged]) -> None:
        for text, names in zip(texts, found, strict=True):
            if not names:
                self._clean[_digest(text)] = None
        while len(self._clean) > MAX_CLEAN:
            self._clean.popitem(last=False)


class OutputModeration:
    """The answer of one turn, checked piece by piece; a `Guard`. A call is in flight at a time, with all that waits."""

    def __init__(self, moderation: Moderation, notes: FactNotes) -> None:
        self._moderation = moderation
        self._notes = notes
        self._waiting: list[tuple[int, str]] = []
        self._in_flight: list[tuple[int, str]] = []
        self._flagged_at: int | None = None
        self._failed: AnswerFailed | None = None
        self._beside = ""
        self._task: asyncio.Task[None] | None = None
        self.proceed: Callable[[], None] = nobody_waits

    async def judge(self, text: str) -> None:
        """An answer in one piece. Raises CutShort where it is not to be heard, and AnswerFailed."""
        pieces = list(_pieces(text))
        if any(await self._moderation.flagged(pieces, "output", self._notes)):
            raise CutShort(FILTERED)

    def arrived(self, piece: Piece) -> None:
        words = piece.text or self._said_beside(piece.data)
        if words.strip():
            self._waiting += ((piece.number, each) for each in _pieces(words))
            self._ask()

    def look(self, piece: Piece) -> Verdict:
        if self._flagged_at is not None and piece.number >= self._flagged_at:
            return FILTERED
        unknown = self._in_flight or self._waiting
        if unknown and piece.number >= unknown[0][0]:
            if self._failed is not None:
                raise self._failed
            return Look.WAIT
        return Look.PASS

    def close(self) -> None:
        """The answer is over."""
        self.proceed, self._failed = nobody_waits, None
        if self._task is not None:
            self._task.cancel()

    def _said_beside(self, data: bytes) -> str:
        """What a piece without text says, behind what was said so before it."""
        words = "".join(_beside(data))
        if not words:
            return ""
        said = self._beside + words
        self._beside = said[-BESIDE_CHARACTERS:]
        return said

    def _ask(self) -> None:
        if self._task is None and self._waiting and self._failed is None:
            self._in_flight, self._waiting = self._waiting, []
            self._task = asyncio.create_task(self._asked(), name="moderate")

    async def _asked(self) -> None:
        try:
            found = await self._moderation.flagged([text for _, text in self._in_flight], "output", self._notes)
        except AnswerFailed as failed:
            self._failed = failed
        else:
            flagged = (number for (number, _), names in zip(self._in_flight, found, strict=True) if names)
            self._flagged_at = next(flagged, None)
            self._in_flight = []
        self._task = None
        self.proceed()
        if self._flagged_at is None:
            self._ask()


def _note(notes: FactNotes, stage: Stage, flagged: Flagged, checked: int, unchecked: int) -> None:
    before = notes.moderation or ModerationUse()
    notes.moderation = ModerationUse(
        stage=stage if flagged else before.stage,
        flagged=before.flagged + flagged,
        checked=before.checked + checked,
        unchecked=before.unchecked + unchecked,
    )


def _unavailable() -> AnswerFailed:
    return server_error(503, "The moderation of this model does not answer.", "moderation_unavailable")


def _user_texts(messages: Sequence[Any]) -> Iterator[str]:
    """What users have said, whoever wrote the history: a caller may put anything anywhere."""
    for message in messages:
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str) and text.strip():
                yield text


def _pieces(text: str) -> Iterator[str]:
    for at in range(0, len(text), MAX_CHARACTERS):
        yield text[at : at + MAX_CHARACTERS]


def _beside(data: bytes) -> Iterator[str]:
    """Every text in the deltas of a chunk but their role; nothing where it is no chunk."""
    if not data.startswith(b"{"):
        return
    for choice in orjson.loads(data).get("choices") or ():
        delta = choice.get("delta") or {}
        yield from _strings({name: value for name, value in delta.items() if name != "role"})


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
