"""The stage that fits a conversation to the context window of the alias which answers it."""

from collections.abc import Iterable
from typing import NamedTuple

from common.events.chat import ContextUse
from llm_stream.aliases import Alias
from llm_stream.answer.ask import LENGTHS
from llm_stream.answer.failure import AnswerFailed, bad_request
from llm_stream.answer.in_progress import FactNotes
from llm_stream.answer.prepare import PreparedRequest
from llm_stream.context.fit import Counted, DoesNotFit, fit
from llm_stream.context.image_tokens import prices_of
from llm_stream.context.outline import ANSWER_TOKENS, Outline, outline
from llm_stream.context.token_counter import TokenCounter
from llm_stream.metrics import CONTEXT_CUTS


class _Counts(NamedTuple):
    """What a request costs: each message, and what stands beside them; and by which tokenizer."""

    tokenizer: str | None
    outline: Outline
    tokens: list[int]
    beside: int

    def estimated(self, kept: list[int], tokens: int) -> int:
        """How many of the `tokens` of the messages kept, and of what stands beside them, are no exact count."""
        if self.tokenizer is None:
            return tokens
        return sum(self.outline.estimated[at] for at in kept) + self.beside - ANSWER_TOKENS


async def fit_window(prepared: PreparedRequest, notes: FactNotes, counter: TokenCounter) -> PreparedRequest | None:
    """The request with what of its conversation fits; None where all of it is for the larger alias.

    Raises AnswerFailed (400) where not even the system messages and the last exchange fit.
    """
    counts = await _count(prepared, counter)
    budget = _budget(prepared)
    messages = prepared.body["messages"]
    before = sum(counts.tokens) + counts.beside
    if before > budget and prepared.alias.larger is not None:
        CONTEXT_CUTS.labels("larger").inc()
        return None
    use = ContextUse(
        tokenizer=counts.tokenizer,
        window_tokens=prepared.alias.context_tokens or 0,
        budget_tokens=max(0, budget),
        tokens_before=before,
        tokens=before,
        estimated_tokens=counts.estimated(list(range(len(messages))), before),
        messages_before=len(messages),
    )
    notes.context = use
    if before <= budget:
        return prepared._replace(context=use)
    try:
        fitted = fit(Counted(messages, counts.tokens), counts.beside, budget)
    except DoesNotFit as error:
        CONTEXT_CUTS.labels("refused").inc()
        raise _too_long(prepared, error.needed, budget) from None
    CONTEXT_CUTS.labels("cut").inc()
    notes.context = use = use.model_copy(
        update={
            "tokens": fitted.tokens,
            "estimated_tokens": counts.estimated(fitted.kept, fitted.tokens),
            "messages_cut": len(messages) - len(fitted.kept),
        }
    )
    return prepared._replace(body={**prepared.body, "messages": fitted.messages}, context=use)


async def load_tokenizers(aliases: Iterable[Alias], counter: TokenCounter) -> None:
    """Have ready what these aliases count by: the first conversation need not wait for it."""
    for alias in aliases:
        if alias.context_tokens is not None:
            await _tokenizer(alias, counter)


async def _count(prepared: PreparedRequest, counter: TokenCounter) -> _Counts:
    alias, body = prepared.alias, prepared.body
    tokenizer = await _tokenizer(alias, counter)
    found = outline(body["messages"], body, prices_of(*(upstream.model for upstream in alias.upstreams)))
    counts = await counter.counts(prepared.request.org_id, tokenizer, found.texts)
    return _Counts(tokenizer, found, found.tokens(counts), found.beside(counts) + ANSWER_TOKENS)


async def _tokenizer(alias: Alias, counter: TokenCounter) -> str | None:
    """The tokenizer that counts for an alias, ready; None where its tokens are estimated."""
    name: str | None = alias.tokenizer
    if name is None:
        name = await counter.tokenizer_of(tuple(upstream.model for upstream in alias.upstreams))
    return name if name != "estimate" and await counter.load(name) else None


def _budget(prepared: PreparedRequest) -> int:
    """Tokens that the prompt may have: what the answer may take is kept free."""
    asked = [length for name in LENGTHS if isinstance(length := prepared.body.get(name), int) and length > 0]
    reserve = max(asked) if asked else prepared.alias.answer_reserve
    return (prepared.alias.context_tokens or 0) - reserve


def _too_long(prepared: PreparedRequest, needed: int, budget: int) -> AnswerFailed:
    """In OpenAI's words where it has them: clients know the code."""
    window = prepared.alias.context_tokens or 0
    message = (
        f"This model's maximum context length is {window} tokens, of which {window - budget} are kept for the answer. "
        f"The system messages, the tools and the messages from the last one of the user on take {needed}."
    )
    return bad_request(400, message, param="messages", code="context_length_exceeded")
