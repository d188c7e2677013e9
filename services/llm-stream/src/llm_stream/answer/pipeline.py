"""The answer to one request, by stages: prepare → past → guards → retrieve → fit → ask → relay → tools → finish."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from common.events.chat import AnswerRequested
from common.events.embeddings import EmbeddingsRequested
from llm_stream.answer.ask import ask
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.embeddings import HeardEmbeddings, hear_embeddings
from llm_stream.answer.failover import Failover
from llm_stream.answer.finish import FinishedAnswer, HeardAnswer, finish
from llm_stream.answer.guards import guarded, wants_guards
from llm_stream.answer.in_progress import AnswerInProgress
from llm_stream.answer.own_words import Ready, send_ready
from llm_stream.answer.past import note_said, with_past
from llm_stream.answer.prepare import PreparedRequest, prepare
from llm_stream.answer.relay import Relay, relay
from llm_stream.answer.resumed_speech import take_up
from llm_stream.answer.retrieved import Searches, is_checked, with_found, with_sources
from llm_stream.answer.tool_rounds import go_on, next_round
from llm_stream.answer.whole import Completion, read_whole
from llm_stream.answer.window import fit_window
from llm_stream.deps import Deps
from llm_stream.ports import UpstreamAnswer

Hear: TypeAlias = Callable[[UpstreamAnswer, Attempt, AnswerInProgress], Awaitable[HeardAnswer | None]]


@dataclass(frozen=True, slots=True)
class TooLong:
    """The conversation does not fit the alias that was asked; `larger` is the one that takes over."""

    larger: str


async def run(answer: AnswerInProgress, deps: Deps) -> FinishedAnswer | None:
    """Answer a request; None where another instance answers it. Raises AnswerFailed."""
    async with Searches(answer, deps) as searches:
        return await _run(answer, searches, deps)


async def _run(answer: AnswerInProgress, searches: Searches, deps: Deps) -> FinishedAnswer | None:
    model: str | None = None
    while True:
        sets, sessions = deps.active_sets, deps.session_variables
        prepared = await prepare(answer.request, model, deps.aliases, sets, sessions, deps.toolbox)
        if prepared.active is not None:
            answer.notes.active = prepared.active.use
        search = searches.begin(prepared)
        prepared = await with_past(prepared, answer, deps)
        if prepared.greeting is not None and not _goes_on(answer):
            return await send_ready(Ready(prepared.greeting, "greeting", answer.request.model), prepared, answer, {})
        if search is not None:
            search.begin(prepared.body["messages"], whole=True, checked=is_checked(prepared))
            prepared = prepared._replace(search=search)
        if answer.rounds.count:
            prepared = next_round(prepared, answer.rounds, deps.toolbox.max_rounds)
        elif (finished := await take_up(prepared, answer)) is not None:
            return finished
        if wants_guards(prepared, answer):
            made = await guarded(prepared, answer, deps.moderation, deps.answer_cache, partial(_made, deps))
        else:
            made = await _made(deps, prepared, answer)
        if not isinstance(made, TooLong):
            return made
        model, answer.notes.context = made.larger, None


def _goes_on(answer: AnswerInProgress) -> bool:
    """Whether the session has turns before this one: nobody is greeted in the middle of a conversation."""
    return answer.notes.session is not None and bool(answer.notes.session.line)


async def _made(deps: Deps, prepared: PreparedRequest, answer: AnswerInProgress) -> FinishedAnswer | TooLong | None:
    """The whole answer of one alias, or that another one has to give it; None as in `run`."""
    prepared = await with_found(prepared, answer.notes)
    async with deps.large_embeddings.one(answer.request):
        heard = await _fit_and_hear(prepared, answer, deps)
        if isinstance(heard, HeardEmbeddings):
            await heard.keep(deps.kept_bodies, answer.request.request_id)
    if prepared.tools is not None:
        heard = await _with_tools(heard, prepared, answer, deps)
    if heard is None or isinstance(heard, TooLong):
        return heard
    if answer.judge is not None and isinstance(heard, Completion):
        await answer.judge(heard.words())
    note_said(heard, answer)
    return finish(heard, answer.rounds)


async def _with_tools(
    heard: HeardAnswer | TooLong | None, prepared: PreparedRequest, answer: AnswerInProgress, deps: Deps
) -> HeardAnswer | TooLong | None:
    """Run what an answer calls for and hear the next one, until one calls for none of our tools."""
    while isinstance(heard, (Relay, Completion)):
        following = await go_on(heard, prepared, answer, deps.toolbox)
        if following is None:
            return heard
        prepared = following
        heard = await _fit_and_hear(prepared, answer, deps)
    return heard


async def _fit_and_hear(
    prepared: PreparedRequest, answer: AnswerInProgress, deps: Deps
) -> HeardAnswer | TooLong | None:
    """Ask with as much of the conversation as the alias has room for; None as in `run`."""
    if prepared.alias.context_tokens is not None:
        fitted = await fit_window(prepared, answer.notes, deps.token_counter)
        if fitted is None:
            return TooLong(prepared.alias.larger or answer.request.model)
        prepared = fitted
    elif prepared.passages:
        prepared = with_sources(prepared, prepared.passages, answer.notes)
    if answer.spending is not None:
        # A lease belongs to whoever answers.
        if not await answer.is_ours():
            return None
        prepared = prepared._replace(most_tokens=await answer.spending.begin(prepared))
    return await _hear(prepared, answer, deps)


def _way(request: AnswerRequested) -> Hear:
    """How the answer to a request is heard."""
    if isinstance(request, EmbeddingsRequested):
        return hear_embeddings
    return relay if request.stream else read_whole


async def _hear(prepared: PreparedRequest, answer: AnswerInProgress, deps: Deps) -> HeardAnswer | TooLong | None:
    """Ask and relay, in one attempt after the other, until all of an answer was heard; None as in `run`."""
    hear = _way(answer.request)
    failover = Failover(prepared, answer, deps.breakers)
    while (attempt := await failover.next()) is not None:
        with attempt:
            async with ask(attempt, answer.frames.released_text, deps.chat_model) as incoming:
                attempt.incoming = incoming
                heard = await hear(incoming, attempt, answer)
            if heard is not None:
                attempt.completed()
            return heard
    if failover.larger is None:
        raise failover.error()
    return TooLong(failover.larger)
