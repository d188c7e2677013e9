"""What llm-stream consumes."""

from common.events.chat import (
    CHAT_MODELS_REQUESTED,
    CHAT_REPLY_REQUESTED,
    ChatModelsRequested,
    ChatReplyRequested,
    ModelNames,
)
from common.events.embeddings import EMBEDDINGS_REQUESTED, EmbeddingsRequested
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.session_turns import (
    SESSION_DELETE_REQUESTED,
    SESSION_EXTEND_REQUESTED,
    SESSION_REQUESTED,
    SPOKEN_REPORTED,
    TURN_REQUESTED,
    SessionDeleteRequested,
    SessionExtended,
    SessionExtendRequested,
    SessionGone,
    SessionRequested,
    ShownSession,
    Spoken,
    SpokenReported,
    TurnFound,
    TurnRequested,
)
from common.kernel.handlers import Handlers, answer, on
from llm_stream.answer.failure import busy
from llm_stream.deps import Deps
from llm_stream.history import session_answers
from llm_stream.turns import life
from llm_stream.turns.claim import RequestEvent


async def on_chat_reply_requested(event: Event[ChatReplyRequested], deps: Deps) -> None:
    """Answer, streaming."""
    await life.answer(event, deps)


async def on_embeddings_requested(event: Event[EmbeddingsRequested], deps: Deps) -> None:
    """Make vectors; a turn like any other."""
    await life.answer(event, deps)


async def on_no_place(event: RequestEvent, deps: Deps) -> None:
    """Turn away, with the fact that is owed for it."""
    await life.answer(event, deps, refused=busy())


async def on_chat_models_requested(event: Event[ChatModelsRequested], deps: Deps) -> Reply[ModelNames]:
    """Say which models there are."""
    del event
    return Reply(ModelNames(models=deps.aliases.names))


async def on_session_requested(event: Event[SessionRequested], deps: Deps) -> Reply[ShownSession]:
    """Tell what a session remembers."""
    return await session_answers.show(event.payload, deps.sessions, deps.session_mark)


async def on_turn_requested(event: Event[TurnRequested], deps: Deps) -> Reply[TurnFound]:
    """Tell one turn."""
    return await session_answers.find_turn(event.payload, deps.sessions)


async def on_spoken_reported(event: Event[SpokenReported], deps: Deps) -> Reply[Spoken]:
    """Note what was heard of an answer."""
    return await session_answers.report_spoken(event.payload, deps.sessions)


async def on_session_extend_requested(event: Event[SessionExtendRequested], deps: Deps) -> Reply[SessionExtended]:
    """Add to a session."""
    return await session_answers.extend(event.payload, deps.sessions)


async def on_session_delete_requested(event: Event[SessionDeleteRequested], deps: Deps) -> Reply[SessionGone]:
    """Forget a session, or a turn."""
    return await session_answers.forget(event.payload, deps.sessions, deps.session_variables)


HANDLERS: Handlers[Deps] = (
    on(CHAT_REPLY_REQUESTED, on_chat_reply_requested, full=on_no_place),
    on(EMBEDDINGS_REQUESTED, on_embeddings_requested, full=on_no_place),
    answer(CHAT_MODELS_REQUESTED, on_chat_models_requested),
    answer(SESSION_REQUESTED, on_session_requested),
    answer(TURN_REQUESTED, on_turn_requested),
    answer(SPOKEN_REPORTED, on_spoken_reported),
    answer(SESSION_EXTEND_REQUESTED, on_session_extend_requested),
    answer(SESSION_DELETE_REQUESTED, on_session_delete_requested),
)
