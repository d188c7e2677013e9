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
from common.events.retrieval_use import QuestionOutcome
from common.events.search import Passage, SearchRequested
from common.failures import Refused
from common.kernel.tasks import end
from llm_stream.ports import Passages
from llm_stream.retrieval.relevance_cut import relevant
from llm_stream.retrieval.rewritten_question import NOT_ASKED, Rewrite, Said, last_turns
from llm_stream.retrieval.search_question import leans_back, question_of
from llm_stream.retrieval.talk_rules import TalkRules

log = structlog.get_logger(__name__)

# So many of the best passages are looked at once more: each takes the reranker some milliseconds.
RERANKED = 10
# Of the deadline, for a model to write the question: the search needs the rest, also where the model is late.
QUESTION_SHARE = 0.5


class Found(NamedTuple):
    """What came of a search: the relevant passages, the best first, of so many that were found, in seconds.

    `question_model` is what came of asking a model for the question; None where none was asked.
    """

    outcome: str
    passages: tuple[Passage, ...] = ()
    found: int = 0
    seconds: float = 0.0
    question_model: QuestionOutcome | None = None


NOTHING = Found("nothing")


class TalkSearch:
    """Begun as soon as it is known what to search for; `rules` are those of the config.

    `rewrite` asks a model for a question that leans on what was said before; with None rules make every question.
    """

    def __init__(
        self, passages: Passages, request: ChatReplyRequested, rules: TalkRules, rewrite: Rewrite | None = None
    ) -> None:
        self.rules = rules
        self._passages = passages
        self._request = request
        self._rewrite = rewrite
        self._task: asyncio.Task[Found] | None = None
        self._over = False

    def begin(self, messages: Sequence[dict[str, Any]], *, whole: bool, checked: bool = True) -> None:
        """Search for what is asked in these messages; where that wants those before it, only if they are the `whole`.

        No model is asked for the question before the messages are `checked`. A search that was begun goes on.
        """
        if self._task is not None or self._over:
            return
        question, stands = question_of(messages)
        if not question:
            self._over = whole
            return
        turns: Sequence[Said] = ()
        ready = stands or whole
        if self._rewrite is not None and leans_back(messages):
            turns = last_turns(messages)
            ready = checked if turns else whole
        if ready:
            self._task = asyncio.create_task(self._search(question, turns), name=f"search {self._request.request_id}")

    async def found(self) -> Found:
        """What was found; waits for it, until the deadline of the rules at the longest."""
        return NOTHING if self._task is None else await self._task

    async def close(self) -> None:
        """Nobody waits for it any more."""
        if self._task is not None:
            await end(self._task)

    async def _search(self, question: str, turns: Sequence[Said]) -> Found:
        began = time.monotonic()
        rewritten = NOT_ASKED
        if turns and self._rewrite is not None:
            rewritten = await self._rewrite(turns, self.rules.deadline * QUESTION_SHARE)
        left = self.rules.deadline - (time.monotonic() - began)
        found = await self._searched(rewritten.question or question, left)
        return found._replace(seconds=time.monotonic() - began, question_model=rewritten.outcome)

    async def _searched(self, question: str, seconds: float) -> Found:
        try:
            results = await self._passages.search(self._wanted(question), timeout=seconds)
        except TimeoutError:
            return Found("late")
        except (Refused, BusUnavailableError) as error:
            log.warning("documents are not searched", request_id=self._request.request_id, error=str(error))
            return Found("failed")
        passages = tuple(relevant(results))[: self.rules.k]
        return Found("used" if passages else "nothing", passages, len(results.data))

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
