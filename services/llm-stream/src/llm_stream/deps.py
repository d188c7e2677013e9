"""What the use cases of llm-stream work with."""

from dataclasses import dataclass

from common.bus.batching import Batcher
from common.bus.live.kept_bodies import KeptBodies
from common.bus.live.writer import LiveWriter
from common.clients.resources.client import ActiveSets
from common.events.record import Record
from common.storage.key_budgets import KeyBudgets
from llm_stream.aliases import AliasTable
from llm_stream.answer.backlog import AnswerMemory
from llm_stream.answer.embeddings import LargeRequests
from llm_stream.answer.failover import Breakers
from llm_stream.answer.moderation import Moderation
from llm_stream.answer.response_cache import AnswerCache
from llm_stream.context.token_counter import TokenCounter
from llm_stream.history.session_memory import SessionMemory
from llm_stream.history.session_variables import SessionVariables
from llm_stream.ports import ChatModel, Passages
from llm_stream.settings import MARK
from llm_stream.tools.toolbox import Toolbox
from llm_stream.turns.claim import Claims
from llm_stream.turns.early_stops import EarlyStops
from llm_stream.turns.running_turns import RunningTurns


@dataclass(slots=True)
class Deps:
    """`aliases` is swapped when the models file is reloaded; `facts` go to the log."""

    facts: Batcher[Record]
    live: LiveWriter
    kept_bodies: KeptBodies
    claims: Claims
    turns: RunningTurns
    early_stops: EarlyStops
    chat_model: ChatModel
    large_embeddings: LargeRequests
    breakers: Breakers
    aliases: AliasTable
    active_sets: ActiveSets
    token_counter: TokenCounter
    memory: AnswerMemory
    toolbox: Toolbox
    budgets: KeyBudgets
    moderation: Moderation
    answer_cache: AnswerCache
    session_variables: SessionVariables
    sessions: SessionMemory
    # Who searches documents for turns whose config wants that.
    passages: Passages
    # What a model is told where the user has cut it off, unless a config says otherwise.
    session_mark: str = MARK
