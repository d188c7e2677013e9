"""First stage: from the request as it was received to the one that upstreams are asked with."""

from typing import Any, NamedTuple

from common.clients.resources.client import ActiveSets
from common.events.chat import AnswerRequested, ChatReplyRequested, ContextUse
from llm_stream.aliases import Alias, AliasTable
from llm_stream.answer.active_set import with_active_set
from llm_stream.answer.failure import bad_request


class PreparedRequest(NamedTuple):
    """What upstreams are asked: the alias that answers, and the body with the active set in it."""

    request: AnswerRequested
    alias: Alias
    body: dict[str, Any]
    context: ContextUse | None = None  # where the alias says how long its window is

    @property
    def needs_tools(self) -> bool:
        """Whether the caller sent tools. The set's own tools must not cost an answer its failover."""
        return bool(self.request.body.get("tools"))

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the usage at the end of its stream."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def choices(self) -> int:
        """How many choices the answer is to have."""
        return self.body.get("n") or 1


async def prepare(
    request: AnswerRequested, model: str, aliases: AliasTable, active_sets: ActiveSets
) -> PreparedRequest:
    """The request as the upstreams of the alias `model` are to be asked. Raises AnswerFailed."""
    alias = aliases.aliases.get(model)
    if alias is None:
        raise bad_request(404, f"The model '{model}' does not exist.", param="model", code="model_not_found")
    if isinstance(request, ChatReplyRequested):
        _check_serves(alias, "chat", f"The model '{model}' makes embeddings: call POST /v1/embeddings.")
        return PreparedRequest(request, alias, await with_active_set(request, alias, active_sets))
    _check_serves(alias, "embeddings", f"The model '{model}' makes no embeddings: call POST /v1/chat/completions.")
    return PreparedRequest(request, alias, request.body)


def _check_serves(alias: Alias, wanted: str, message: str) -> None:
    if alias.serves != wanted:
        raise bad_request(404, message, param="model", code="model_not_found")
