"""The model that writes what is searched for, where a config names one and a question leans on what was said before.

It is asked within the turn, since the answer waits for it, and never for longer than a share of the search's deadline.
Whatever goes wrong is counted, and rules make the question.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence

import structlog

from common.events.chat import ChatReplyRequested
from llm_stream.aliases import Alias
from llm_stream.answer import failure
from llm_stream.answer.ask import ask
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.failover import WHOLE_SECONDS
from llm_stream.answer.failure import AnswerFailed
from llm_stream.answer.guards import moderates
from llm_stream.answer.in_progress import AnswerInProgress, FactNotes
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.question_turn import QuestionTurn
from llm_stream.answer.spending import Spending
from llm_stream.deps import Deps
from llm_stream.metrics import QUESTION_MODELS
from llm_stream.ports import Patience, UpstreamRefused
from llm_stream.retrieval.rewritten_question import ANSWER_TOKENS, Rewritten, Said, question_in, request_of
from llm_stream.upstream.completions import WholeAnswer, read_completion

log = structlog.get_logger(__name__)


class QuestionModel:
    """Asks the alias `name` for the question of a request's one search; the notes of its `answer` say what it cost."""

    def __init__(self, name: str, request: ChatReplyRequested, answer: AnswerInProgress, deps: Deps) -> None:
        self._name = name
        self._request = request
        self._answer = answer
        self._deps = deps

    async def __call__(self, turns: Sequence[Said], seconds: float) -> Rewritten:
        """The question of these turns, within so many seconds."""
        rewritten = await self._in_time(turns, seconds)
        QUESTION_MODELS.labels(rewritten.outcome).inc()
        return rewritten

    async def _in_time(self, turns: Sequence[Said], seconds: float) -> Rewritten:
        alias = self._deps.aliases.aliases.get(self._name)
        if alias is None or alias.serves != "chat":
            log.warning("no question: its config names no alias that answers", alias=self._name)
            return Rewritten("no_alias")
        asked = self._begun(turns)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._asked(asked, alias, turns)
        except TimeoutError:
            return Rewritten("late")
        except AnswerFailed as failed:
            asked.error = failed.error
            log.warning("no question", request_id=self._request.request_id, error=str(failed))
            return Rewritten("failed")
        finally:
            asked.end()
        question = "" if answer.finish_reason == "length" else question_in(_text_of(answer))
        return Rewritten("used", question) if question else Rewritten("unusable")

    def _begun(self, turns: Sequence[Said]) -> QuestionTurn:
        """The turn in which it is asked. Its id is made of the other's: one that is answered anew tells it once."""
        request, budget = self._request, self._request.budget
        digest = hashlib.blake2b(f"{request.request_id}/question".encode(), digest_size=16).hexdigest()
        request_id = f"chatcmpl-{digest}"
        wanted = ChatReplyRequested(
            request_id=request_id,
            org_id=request.org_id,
            key_id=request.key_id,
            # A session of its own, as a summary has one: no list of turns shows it among those of the user.
            session_id=request_id,
            model=self._name,
            stream=False,
            received_at=time.time(),
            body=request_of(turns, self._name),
            answer_tokens=ANSWER_TOKENS,
            budget=budget,
        )
        spending = None if budget is None else Spending(self._deps.budgets, budget, wanted)
        self._answer.notes.question = asked = QuestionTurn(wanted, spending)
        return asked

    async def _asked(self, asked: QuestionTurn, alias: Alias, turns: Sequence[Said]) -> WholeAnswer:
        """What the first upstream of the alias says that is well. Raises AnswerFailed, and TimeoutError."""
        prepared = PreparedRequest(asked.request, alias, asked.request.body)
        if moderates(prepared, "input"):
            # The turn's fact tells what its own alias has checked.
            said = [{"role": each.role, "content": each.text} for each in turns]
            await self._deps.moderation.check_input(said, FactNotes())
        if asked.spending is not None:
            # A lease belongs to whoever answers. The question of another instance is waited for by nobody here.
            if not await self._answer.is_ours():
                raise TimeoutError
            prepared = prepared._replace(most_tokens=await asked.spending.begin(prepared))
        # The deadline of the search is sooner, as a rule: it ends an attempt without a verdict on the upstream.
        whole = alias.whole_timeout or WHOLE_SECONDS
        patience = Patience(alias.connect_timeout, whole, whole)
        for upstream in alias.upstreams:
            breaker = self._deps.breakers.of(upstream, asked.request.org_id)
            if breaker.rests_for() <= 0 and breaker.try_enter():
                attempt = Attempt(prepared, upstream, breaker, patience, 1)
                asked.attempts.add(attempt)
                if (answer := await self._heard(asked, attempt)) is not None:
                    return answer
        raise _why_not(asked)

    async def _heard(self, asked: QuestionTurn, attempt: Attempt) -> WholeAnswer | None:
        """What an upstream answers; None where the attempt fails."""
        request, whole_answers = asked.request, self._answer.whole_answers
        with attempt:
            async with ask(attempt, "", self._deps.chat_model) as incoming:
                attempt.incoming = incoming
                with whole_answers.receiving(request.request_id, request.org_id, incoming) as grew:
                    body = await incoming.whole(grew)
            whole_answers.turn_over(request.request_id)
            answer = read_completion(body)
            asked.heard(answer, attempt)
            attempt.completed()
            return answer
        return None


def _text_of(answer: WholeAnswer) -> str:
    text = answer.content["choices"][0]["message"].get("content")
    return text if isinstance(text, str) else ""


def _why_not(asked: QuestionTurn) -> AnswerFailed:
    error = asked.attempts.last.error if asked.attempts.made else None
    if error is None:
        return failure.resting(rate_limited=False, soonest=1.0)
    return failure.refused(error) if isinstance(error, UpstreamRefused) else failure.failed(error)
