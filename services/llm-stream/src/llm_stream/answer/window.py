"""The stage that fits a conversation to the context window of the alias which answers it."""

from collections.abc import Iterable
from typing import NamedTuple

from common.events.chat import ContextUse
from common.events.search import Passage
from llm_stream.aliases import Alias
from llm_stream.answer.failure import AnswerFailed, bad_request
from llm_stream.answer.in_progress import FactNotes
from llm_stream.answer.prepare import LENGTHS, PreparedRequest
from llm_stream.answer.retrieved import with_sources
from llm_stream.context.fit import RETRIEVED_SHARE, Counted, DoesNotFit, Fitted, fit
from llm_stream.context.image_tokens import prices_of
from llm_stream.context.outline import ANSWER_TOKENS, Outline, outline
from llm_stream.context.token_counter import TokenCounter
from llm_stream.metrics import CONTEXT_CUTS
from llm_stream.retrieval.quoted_passages import BEFORE, BEHIND, quote


class _Counts(NamedTuple):
    """What a request costs: each message, and what stands beside them; and by which tokenizer."""

    tokenizer: str | None
    outline: Outline
    tokens: list[int]
    beside: int

    @property
    def total(self) -> int:
        """The tokens of all there is."""
        return sum(self.tokens) + self.beside

    def estimated(self, fitted: Fitted) -> int:
        """How many tokens of what is kept are no exact count."""
        if self.tokenizer is None:
            return fitted.tokens
        return sum(self.outline.estimated[at] for at in fitted.kept) + self.beside - ANSWER_TOKENS


async def fit_window(prepared: PreparedRequest, notes: FactNotes, counter: TokenCounter) -> PreparedRequest | None:
    """The request with what of its conversation fits; None where all of it is for the larger alias.

    Raises AnswerFailed (400) where not even the system messages and the last exchange fit.
    """
    counts, budget = await _count(prepared, counter), _budget(prepared)
    if counts.total > budget and prepared.alias.larger is not None:
        CONTEXT_CUTS.labels("larger").inc()
        return None
    shown: list[Passage] = []
    fitted = _whole(prepared, counts) if counts.total <= budget else None
    # What is refused is told as it came.
    notes.context = _use(prepared, counts, budget, fitted or _whole(prepared, counts))
    if prepared.passages:
        shown, fitted = await _with_passages(prepared, counts, budget, counter, fitted)
    if fitted is None:
        fitted = _cut(prepared, counts, budget)
    notes.context = context = _use(prepared, counts, budget, fitted)
    messages = prepared.body["messages"]
    if context.messages_cut:
        CONTEXT_CUTS.labels("cut").inc()
        messages = [messages[at] for at in fitted.kept]
    prepared = prepared._replace(body={**prepared.body, "messages": messages}, context=context)
    return with_sources(prepared, shown, notes) if prepared.passages else prepared


def _whole(prepared: PreparedRequest, counts: _Counts) -> Fitted:
    messages = prepared.body["messages"]
    return Fitted(messages, counts.total, list(range(len(messages))), [])


def _cut(prepared: PreparedRequest, counts: _Counts, budget: int) -> Fitted:
    try:
        return fit(Counted(prepared.body["messages"], counts.tokens), counts.beside, budget)
    except DoesNotFit as error:
        CONTEXT_CUTS.labels("refused").inc()
        raise _too_long(prepared, error.needed, budget) from None


def _use(prepared: PreparedRequest, counts: _Counts, budget: int, fitted: Fitted) -> ContextUse:
    """What the fact and the header tell."""
    messages = len(prepared.body["messages"])
    return ContextUse(
        tokenizer=counts.tokenizer,
        window_tokens=prepared.alias.context_tokens or 0,
        budget_tokens=max(0, budget),
        tokens_before=counts.total,
        tokens=fitted.tokens,
        estimated_tokens=counts.estimated(fitted),
        messages_before=messages,
        messages_cut=messages - len(fitted.kept),
    )


async def _with_passages(
    prepared: PreparedRequest, counts: _Counts, budget: int, counter: TokenCounter, without: Fitted | None
) -> tuple[list[Passage], Fitted | None]:
    """The passages that there is room for, and what of the conversation stays beside them: old exchanges give way.

    Where there is room for none it is no passage, and what is kept `without` them.
    """
    found, search = prepared.passages, prepared.search
    texts = [quote(passage) for passage in found]
    tokens = await counter.counts(prepared.request.org_id, counts.tokenizer, [BEFORE + BEHIND, *texts])
    conversation = Counted(prepared.body["messages"], counts.tokens)
    share = RETRIEVED_SHARE if search is None else search.rules.share
    passages = Counted([{"role": "user", "content": text} for text in texts], tokens[1:])
    try:
        fitted = fit(conversation, counts.beside + tokens[0], budget, passages, share)
    except DoesNotFit:
        # Not even the fence fits beside what must stay.
        return [], without
    kept = [found[at] for at in fitted.kept_passages]
    return kept, fitted if kept else without


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
