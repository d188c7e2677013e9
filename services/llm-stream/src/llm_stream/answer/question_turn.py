"""The turn within a turn in which a model is asked for the question of a search: nobody hears it, a fact tells it."""

import time

from common.events.chat import ChatReplyRequested, ReplyError, Usage
from llm_stream.answer.attempt import Attempt, Attempts
from llm_stream.answer.finish import FinishedAnswer
from llm_stream.answer.spending import Spending
from llm_stream.answer.usage import estimated, usage_of
from llm_stream.upstream.completions import WholeAnswer

NO_USAGE = Usage()


class QuestionTurn:
    """What is asked, with its attempts and what came of them. Times are unix seconds."""

    def __init__(self, request: ChatReplyRequested, spending: Spending | None) -> None:
        self.request = request
        # What its key has to spend, where that is limited.
        self.spending = spending
        self.attempts = Attempts()
        self.finished: FinishedAnswer | None = None
        self.error: ReplyError | None = None
        self.ended_at = request.received_at

    def heard(self, answer: WholeAnswer, attempt: Attempt) -> None:
        """The model has answered."""
        upstream = attempt.upstream
        attempt.characters = answer.characters
        usage = usage_of(answer.usage, attempt.prepared.body, attempt.estimated_tokens)
        cost = upstream.price.cost(usage.prompt_tokens, usage.completion_tokens)
        self.finished = FinishedAnswer(upstream, answer.model or upstream.model, usage, cost, answer.finish_reason)

    def end(self) -> None:
        """Nobody waits for it any more."""
        self.ended_at = time.time()

    def cost(self) -> FinishedAnswer:
        """What it cost: of an answer that was given up, what it was asked with, by estimate."""
        if self.finished is not None:
            return self.finished
        attempt = self.attempts.billed
        if attempt is None:
            return FinishedAnswer(None, None, NO_USAGE, 0.0, None)
        upstream, usage = attempt.upstream, estimated(attempt.prepared.body, attempt.estimated_tokens)
        cost = upstream.price.cost(usage.prompt_tokens, usage.completion_tokens)
        return FinishedAnswer(upstream, upstream.model, usage, cost, None)
