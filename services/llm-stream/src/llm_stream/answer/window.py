"""The stage that fits a conversation to the context window of the alias which answers it."""

from collections.abc import Iterable
from typing import NamedTuple

from common.events.chat import ContextUse
from common.events.search import Passage
from common.events.session_summary import RollingSummary
from llm_stream.aliases import Alias
from llm_stream.answer.failure import AnswerFailed, bad_request
from llm_stream.answer.in_progress import FactNotes
from llm_stream.answer.prepare import LENGTHS, PreparedRequest
from llm_stream.answer.retrieved import with_sources
from llm_stream.context.exchanges import INSTRUCTING
from llm_stream.context.fit import RETRIEVED_SHARE, Counted, DoesNotFit, Fitted, fit
from llm_stream.context.image_tokens import prices_of
from llm_stream.context.outline import ANSWER_TOKENS, Message, Outline, outline
from llm_stream.context.token_counter import TokenCounter
from llm_stream.history.rolling_summary import DEFAULT_TOKENS, ToSumUp, end_of, in_front, next_stretch
from llm_stream.history.session_context import marked
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
    _note_stretch(prepared, notes, counts, budget)
    if counts.total > budget and prepared.alias.larger is not None:
        CONTEXT_CUTS.labels("larger").inc()
        return None
    whole = _whole(prepared, counts)
    # What is refused is told as it came.
    notes.context = _use(prepared, counts, budget, whole)
    front = await _summary_of(prepared, notes, counts, counter) if counts.total > budget else None
    shown: list[Passage] = []
    fitted = whole if counts.total <= budget else None
    if prepared.passages:
        beside = budget - (0 if front is None else front.tokens)
        shown, fitted = await _with_passages(prepared, counts, beside, counter, fitted)
    if fitted is None:
        fitted = _cut(prepared, counts, budget, front)
    messages, notes.context = _kept(prepared, _use(prepared, counts, budget, fitted), fitted, front)
    prepared = prepared._replace(body={**prepared.body, "messages": messages}, context=notes.context)
    return with_sources(prepared, shown, notes) if prepared.passages else prepared


def _kept(
    prepared: PreparedRequest, use: ContextUse, fitted: Fitted, front: "_Front | None"
) -> tuple[list[Message], ContextUse]:
    """The messages that stay, behind the summary of what went where there is room for it."""
    messages: list[Message] = prepared.body["messages"]
    if not use.messages_cut:
        return messages, use
    CONTEXT_CUTS.labels("cut").inc()
    messages = [messages[at] for at in fitted.kept]
    if front is None or use.tokens + front.tokens > use.budget_tokens:
        return messages, use
    summed_up = front.end - sum(1 for at in fitted.kept if at < front.end)
    told = {"tokens": use.tokens + front.tokens, "messages_summed_up": summed_up}
    return _with_front(messages, front.text), use.model_copy(update=told)


def _whole(prepared: PreparedRequest, counts: _Counts) -> Fitted:
    messages = prepared.body["messages"]
    return Fitted(messages, counts.total, list(range(len(messages))), [])


def _cut(prepared: PreparedRequest, counts: _Counts, budget: int, front: "_Front | None") -> Fitted:
    """What fits beside the summary, or alone where nothing does: what was said just now goes before it."""
    conversation = Counted(prepared.body["messages"], counts.tokens)
    try:
        fitted = None if front is None else _fit_or_none(conversation, counts.beside, budget - front.tokens)
        return fitted or fit(conversation, counts.beside, budget)
    except DoesNotFit as error:
        CONTEXT_CUTS.labels("refused").inc()
        raise _too_long(prepared, error.needed, budget) from None


def _fit_or_none(conversation: Counted, beside: int, budget: int) -> Fitted | None:
    try:
        return fit(conversation, beside, budget)
    except DoesNotFit:
        return None


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


# -- the rolling summary -----------------------------------------------------------------------------------------------


class _Front(NamedTuple):
    """A summary as it stands in front: it tells the messages up to `end`."""

    text: str
    tokens: int
    end: int


def _note_stretch(prepared: PreparedRequest, notes: FactNotes, counts: _Counts, budget: int) -> None:
    """Note what is to be summed up once the answer is out, where the config wants that."""
    wanted = prepared.session_rules.get("summary")
    session = notes.session
    if wanted is None or session is None or session.mode != "full":
        return
    messages = prepared.before_rounds or prepared.body["messages"]
    tokens = counts.tokens[: len(messages)]
    pairs = zip(messages, tokens, strict=True)
    room = budget - counts.beside - sum(count for message, count in pairs if message.get("role") in INSTRUCTING)
    stretch = next_stretch(messages, tokens, session.summary, room)
    if stretch is None:
        session.to_sum_up = None
        return
    former = session.summary if stretch.before else None
    length = wanted.get("tokens") or DEFAULT_TOKENS
    session.to_sum_up = ToSumUp(stretch.exchanges, stretch.before, former, wanted["alias"], length)


async def _summary_of(
    prepared: PreparedRequest, notes: FactNotes, counts: _Counts, counter: TokenCounter
) -> _Front | None:
    """The summary of what the conversation begins with, where there is one and the config still wants it."""
    summary: RollingSummary | None = None if notes.session is None else notes.session.summary
    if summary is None or prepared.session_rules.get("summary") is None:
        return None
    if not (end := end_of(prepared.body["messages"], summary)):
        return None
    text = in_front(summary)
    [tokens] = await counter.counts(prepared.request.org_id, counts.tokenizer, [text])
    # The line between it and what the user says.
    return _Front(text, tokens + 1, end)


def _with_front(messages: list[Message], text: str) -> list[Message]:
    """The messages with the summary before what the user says first: roles take turns in many templates."""
    at = next((at for at, each in enumerate(messages) if each.get("role") not in INSTRUCTING), len(messages))
    rest = marked(messages[at:], text)
    if rest == messages[at:]:
        rest = [{"role": "user", "content": text}, *rest]
    return [*messages[:at], *rest]


# -- passages of documents ---------------------------------------------------------------------------------------------


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
