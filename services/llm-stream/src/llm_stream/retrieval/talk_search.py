"""The search of one turn: it runs beside what the turn has to do anyway, and is left out where it is late."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog

from common.bus.port import BusUnavailableError
from common.events.chat import ChatReplyRequested
from common.events.documents import MEMORY
from common.events.resource_terms import DEFAULT_PROJECT
from common.events.search import Passage, SearchRequested
from common.failures import Refused
from llm_stream.ports import Passages
from llm_stream.retrieval.relevance_cut import relevant
from llm_stream.retrieval.search_question import question_of
from llm_stream.retrieval.talk_rules import TalkRules

log = structlog.get_logger(__name__)

# So many of the best passages are looked at once more: each takes the reranker some milliseconds.
RERANKED = 10


class Found(NamedTuple):
    """What came of a search: the relevant passages, the best first, of so many that were found, in seconds."""

    outcome: str
    passages: tuple[Passage, ...] = ()
    found: int = 0
    seconds: float = 0.0


NOTHING = Found("nothing")


class TalkSearch:
    """Begun as soon as it is known what to search for; `rules` are those of the config."""

    def __init__(self, passages: Passages, request: ChatReplyRequested, rules: TalkRules) -> None:
        self.rules = rules
        self._passages = passages
        self._request = request
        self._task: asyncio.Task[Found] | None = None
        self._over = False

    def begin(self, messages: Sequence[dict[str, Any]], *, whole: bool) -> None:
        """Search for what is asked in these messages; where that wants those before it, only if they are the `whole`.

        A search that was begun goes on.
        """
        if self._task is not None or self._over:
            return
        question, stands = question_of(messages)
        if not question:
            self._over = whole
        elif stands or whole:
            self._task = asyncio.create_task(self._search(question), name=f"search {self._request.request_id}")

    async def found(self) -> Found:
        """What was found; waits for it, until the deadline of the rules at the longest."""
        return NOTHING if self._task is None else await self._task

    def close(self) -> None:
        """Nobody waits for it any more."""
        if self._task is not None:
            self._task.cancel()

    async def _search(self, question: str) -> Found:
        began = time.monotonic()
        try:
            results = await self._passages.search(self._wanted(question), timeout=self.rules.deadline)
        except TimeoutError:
            return Found("late", seconds=time.monotonic() - began)
        except (Refused, BusUnavailableError) as error:
            log.warning("documents are not searched", request_id=self._request.request_id, error=str(error))
            return Found("failed", seconds=time.monotonic() - began)
        passages = tuple(relevant(results))[: self.rules.k]
        return Found("used" if passages else "nothing", passages, len(results.data), time.monotonic() - began)

    def _wanted(self, question: str) -> SearchRequested:
        rules, request = self.rules, self._request
        remembers = rules.memory and request.user_id is not None
        collections = (*rules.collections, MEMORY) if remembers and rules.collections else rules.collections
        return SearchRequested(
            org_id=request.org_id,
            project_id=request.project_id or DEFAULT_PROJECT,
            # What a user has said is found in that user's turns alone.
            user_id=(request.user_id or "") if remembers else "",
            query=question,
            collections=collections,
            # Some more than are wanted, of which the relevant ones stay.
            k=max(rules.k, RERANKED),
            mode="reranked" if rules.rerank else "fused",
            rerank=max(rules.k, RERANKED),
        )
