"""The stage that looks up documents: the search begins early, and what is relevant stands in the request.

Without a config that wants it nothing is looked up, and nothing is spent on it.
"""

import json
import time
from collections.abc import Sequence
from typing import Self

from common.events.chat import ChatReplyRequested
from common.events.retrieval_use import PassageSource, RetrievalUse
from common.events.search import Passage
from llm_stream.answer.guards import moderates
from llm_stream.answer.in_progress import AnswerInProgress, FactNotes
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.question_model import QuestionModel
from llm_stream.deps import Deps
from llm_stream.metrics import RETRIEVAL_SECONDS, RETRIEVAL_WAITS, RETRIEVALS, RETRIEVED_PASSAGES
from llm_stream.retrieval.quoted_passages import quote, with_quotes
from llm_stream.retrieval.talk_rules import TalkRules
from llm_stream.retrieval.talk_search import Found, TalkSearch

HEADER = "x-sonant-sources"
# Proxies take 4 to 8 KiB of headers in all.
HEADER_BYTES = 2_048
HEADING_CHARACTERS = 120


class Searches:
    """The one search of a turn, whichever alias answers it; with the turn it is over."""

    def __init__(self, answer: AnswerInProgress, deps: Deps) -> None:
        self._answer = answer
        self._deps = deps
        self._search: TalkSearch | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._search is not None:
            await self._search.close()

    def begin(self, prepared: PreparedRequest) -> TalkSearch | None:
        """The search that the config wants, begun where the request says what for; None where it wants none."""
        if self._search is None and prepared.active is not None and isinstance(prepared.request, ChatReplyRequested):
            rules = TalkRules.of(prepared.active.content["config"])
            if rules is not None:
                self._answer.notes.remembers = rules.memory
                named = rules.question_model
                rewrite = None if named is None else QuestionModel(named, prepared.request, self._answer, self._deps)
                self._search = TalkSearch(self._deps.passages, prepared.request, rules, rewrite)
                self._search.begin(prepared.request.body["messages"], whole=False, checked=is_checked(prepared))
        return self._search


def is_checked(prepared: PreparedRequest) -> bool:
    """Whether a model may be asked before the guards have looked at what the user says."""
    return not moderates(prepared, "input")


async def with_found(prepared: PreparedRequest, notes: FactNotes) -> PreparedRequest:
    """The request with the passages that may stand in it, once the search is over."""
    if prepared.search is None:
        return prepared
    began = time.monotonic()
    # Behind the guards: what waited for them begins here.
    prepared.search.begin(prepared.body["messages"], whole=True)
    found = await prepared.search.found()
    RETRIEVAL_WAITS.observe(time.monotonic() - began)
    RETRIEVALS.labels(found.outcome).inc()
    RETRIEVAL_SECONDS.observe(found.seconds)
    notes.retrieval = _use(found)
    return prepared._replace(passages=found.passages)


def with_sources(prepared: PreparedRequest, passages: Sequence[Passage], notes: FactNotes) -> PreparedRequest:
    """The request with these passages in its last user's message; the fact and the answer name them."""
    if notes.retrieval is not None and notes.retrieval.outcome == "used":
        sources = tuple(map(_source, passages))
        outcome = "used" if sources else "nothing"
        notes.retrieval = notes.retrieval.model_copy(update={"outcome": outcome, "sources": sources})
        RETRIEVED_PASSAGES.inc(len(sources))
    if not passages:
        return prepared
    messages = with_quotes(prepared.body["messages"], [quote(passage) for passage in passages])
    header = {HEADER: sources_header(passages)}
    return prepared._replace(body={**prepared.body, "messages": messages}, sources=header)


def sources_header(passages: Sequence[Passage]) -> str:
    """The sources as JSON in ASCII; the last of those for which a header has no room are left out."""
    told: list[str] = []
    left = HEADER_BYTES
    for passage in passages:
        source = {
            "passage": passage.id,
            "document": passage.document_id,
            "name": passage.document,
            "heading": passage.heading[:HEADING_CHARACTERS] or None,
            "page": passage.page,
        }
        text = json.dumps({name: value for name, value in source.items() if value is not None}, separators=(",", ":"))
        left -= len(text) + 1
        if left < 0:
            break
        told.append(text)
    return f"[{','.join(told)}]"


def _use(found: Found) -> RetrievalUse:
    return RetrievalUse.model_validate(
        {
            "outcome": found.outcome,
            "found": found.found,
            "seconds": round(found.seconds, 4),
            "question_model": found.question_model,
        }
    )


def _source(passage: Passage) -> PassageSource:
    return PassageSource(
        passage_id=passage.id,
        document_id=passage.document_id,
        document=passage.document,
        collection=passage.collection,
        heading=passage.heading,
        page=passage.page,
        start=passage.start,
        end=passage.end,
        score=round(passage.score, 4),
    )
