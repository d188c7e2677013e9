"""What one turn spends of the budget of its key: leased in batches, and cut at the end of a sentence when it is spent.

Every lease keeps `SENTENCE_TOKENS` back. While there is more to be had the answer goes on beyond them; once there is
not, the sentence under way is finished with them. So the answers of any number of processes together say at most one
sentence more than the budget has: that of the answer which got the last, smaller lease.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from common.events.chat import AnswerRequested, ChatReplyRequested, ReplyError, Usage
from common.events.keys import KeyBudget
from common.events.token_estimate import answer_tokens, content_tokens, input_tokens
from common.failures import StoreUnavailableError
from common.storage.key_budgets import BudgetedTurn, KeyBudgets, Wanted, nanos_of, period_of
from llm_stream.aliases import Alias
from llm_stream.answer.failure import AnswerFailed, server_error
from llm_stream.answer.gate import Cut, Look, Piece, Verdict, nobody_waits
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.answer.sentences import releasable
from llm_stream.metrics import BUDGET_LEASES

log = structlog.get_logger(__name__)

# What is leased at a time: some seconds of speech, and a command to the store every so often.
BATCH_TOKENS = 256
# For the end of a sentence. `releasable` cuts at 300 characters where none comes.
SENTENCE_TOKENS = 80
# With less left the next batch is asked for, so that the answer need not wait for it.
LOW_TOKENS = SENTENCE_TOKENS + 128
# Of an answer that is not streamed, where its request leaves the length open.
WHOLE_TOKENS = 4_096
# What is looked back at for the beginning of a sentence.
TAIL_CHARACTERS = 400
# A settlement is tried again this often while the store is away; what it cannot settle stays leased.
SETTLE_TRIES = 5
SETTLE_PAUSE = 0.5


class Spending:
    """The lease of one turn. A `Guard` of its stream, which calls `proceed` once more is leased."""

    def __init__(self, budgets: KeyBudgets, budget: KeyBudget, request: AnswerRequested) -> None:
        self._budgets = budgets
        self._turn = BudgetedTurn(request.org_id, budget, period_of(budget, time.time()), request.request_id)
        self._per_token = 0.0
        self._leased = False
        self._free = 0  # tokens that are leased and not said
        self._last = False  # nothing more is to be had
        self._may_exceed = False  # less than a sentence was leased, and it is said all the same
        self._tail = ""  # of the sentence under way
        self._said = False
        self._chunks = 0
        self._characters = 0
        self._renewal: asyncio.Task[None] | None = None
        self.proceed: Callable[[], None] = nobody_waits

    # -- before upstreams are asked ---------------------------------------------------------------------------

    async def begin(self, prepared: PreparedRequest) -> int | None:
        """Lease what asking costs, and the beginning of the answer; to be called before every round.

        Returns how many tokens an answer that is not streamed may have. Raises AnswerFailed: 429
        `insufficient_quota` where too little is left, 503 while nobody can say.
        """
        alias, body = prepared.alias, prepared.body
        prompt = _prompt_tokens(body)
        self._per_token = max(upstream.price.output for upstream in alias.upstreams) * 1000
        most, least = self._amounts(prepared)
        whole = SENTENCE_TOKENS if prepared.request.stream else 0
        wanted = Wanted(prompt, _prompt_nanos(alias, prompt), most, least, self._per_token, whole)
        granted = await self._lease(wanted, anew=not self._leased)
        if granted is None:
            BUDGET_LEASES.labels("refused").inc()
            raise self._refusal(prompt)
        self._leased = True
        self._take(granted, most)
        BUDGET_LEASES.labels("part" if self._last else "whole").inc()
        return None if prepared.request.stream else max(1, granted // prepared.choices)

    def _amounts(self, prepared: PreparedRequest) -> tuple[int, int]:
        """The tokens wanted beside the prompt, at most and at least."""
        if prepared.alias.serves == "embeddings":
            return 0, 0
        if prepared.request.stream:
            return BATCH_TOKENS + SENTENCE_TOKENS, 1
        return (prepared.named_tokens or _told_tokens(prepared) or WHOLE_TOKENS) * prepared.choices, 1

    def _refusal(self, prompt: int) -> AnswerFailed:
        message = (
            f"The budget of this API key is spent until {self._turn.period.told}, or leaves too little for this "
            f"request, which needs about {prompt} tokens before its answer."
        )
        error = ReplyError(status=429, message=message, type="insufficient_quota", code="insufficient_quota")
        return AnswerFailed(error)

    async def _lease(self, wanted: Wanted, *, anew: bool) -> int | None:
        try:
            granted, _ = await self._budgets.lease(self._turn, wanted, anew=anew)
        except StoreUnavailableError as error:
            log.warning("budget not leased", completion_id=self._turn.request_id, error=str(error))
            raise server_error(503, "The budget of this API key cannot be checked right now.", "unavailable") from None
        return granted

    # -- while it is said --------------------------------------------------------------------------------------

    def arrived(self, piece: Piece) -> None:
        """Nothing is to be known beforehand."""

    def look(self, piece: Piece) -> Verdict:
        if not piece.tokens and not piece.text:
            return Look.PASS
        # As the whole answer is counted in the end: the larger of its chunks and a fourth of its characters.
        chunks, characters = self._chunks + piece.tokens, self._characters + len(piece.text)
        cost = answer_tokens(chunks, characters) - answer_tokens(self._chunks, self._characters)
        if self._last and self._free <= SENTENCE_TOKENS and (cut := self._ends(piece, cost)) is not None:
            return cut
        if not self._last and self._free - cost < LOW_TOKENS:
            self._renew()
            if self._free - cost < SENTENCE_TOKENS:
                return Look.WAIT
        self._free -= cost
        self._chunks, self._characters = chunks, characters
        self._said = True
        self._note(piece.text)
        return Look.PASS

    def _ends(self, piece: Piece, cost: int) -> Cut | None:
        """Where the sentence under way ends within this piece, or did before it; one may be said in any case.

        One that is longer than what was kept back for it ends with that.
        """
        if self._said and (not self._tail or (cost > self._free and not self._may_exceed)):
            return Cut("budget", "length")
        end = releasable(self._tail + piece.text)
        if not end:
            return None
        return Cut("budget", "length", keep=max(0, end - len(self._tail)))

    def _note(self, text: str) -> None:
        said = self._tail + text
        self._tail = said[releasable(said) :][-TAIL_CHARACTERS:]

    def _take(self, granted: int, wanted: int) -> None:
        self._free += granted
        self._last = granted < wanted
        self._may_exceed = self._free < SENTENCE_TOKENS

    def _renew(self) -> None:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renewed(), name=f"lease {self._turn.request_id}")

    async def _renewed(self) -> None:
        wanted = Wanted(most=BATCH_TOKENS, least=1, per_token=self._per_token)
        try:
            granted = await self._lease(wanted, anew=False)
        except AnswerFailed:
            # What is leased is said, and the answer ends as if there were no more.
            granted = None
        self._take(granted or 0, BATCH_TOKENS)
        BUDGET_LEASES.labels("refused" if granted is None else "part" if self._last else "whole").inc()
        self._renewal = None
        self.proceed()

    def close(self) -> None:
        self.proceed = nobody_waits

    # -- at its end ----------------------------------------------------------------------------------------------

    async def settle(self, usage: Usage, cost_usd: float) -> None:
        """Replace what was leased by what the turn cost. While the store stays away, the lease stays counted."""
        if self._renewal is not None:
            await asyncio.wait({self._renewal})
        if not self._leased:
            return
        tokens = usage.prompt_tokens + usage.completion_tokens
        for attempt in range(SETTLE_TRIES):
            try:
                await self._budgets.settle(self._turn, tokens, nanos_of(cost_usd))
            except StoreUnavailableError as error:
                log.warning(
                    "budget not settled", request_id=self._turn.request_id, attempt=attempt + 1, error=str(error)
                )
                await asyncio.sleep(SETTLE_PAUSE)
            else:
                return


def _told_tokens(prepared: PreparedRequest) -> int | None:
    """What its upstream is told that a choice may say, where the request leaves that open."""
    return prepared.request.answer_tokens if isinstance(prepared.request, ChatReplyRequested) else None


def _prompt_tokens(body: dict[str, Any]) -> int:
    if "input" in body:
        return input_tokens(body["input"])
    return content_tokens(message.get("content") for message in body["messages"])


def _prompt_nanos(alias: Alias, tokens: int) -> int:
    """By the dearest upstream: which one answers is not known."""
    return round(max(upstream.price.input for upstream in alias.upstreams) * 1000 * tokens)
