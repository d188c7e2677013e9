"""First stage: from the request as it was received to the one that upstreams are asked with."""

from typing import Any, NamedTuple

from common.clients.resources.client import ActiveSets
from common.events.chat import AnswerRequested, ChatReplyRequested, ContextUse, ServedSet
from llm_stream.aliases import Alias, AliasTable
from llm_stream.answer.active_set import with_active_set
from llm_stream.answer.failure import bad_request
from llm_stream.tools.pairs import closed
from llm_stream.tools.tool import Filler
from llm_stream.tools.toolbox import Offered, Toolbox, ToolSources, ToolsRefused


class PreparedRequest(NamedTuple):
    """What upstreams are asked: the alias that answers, and the body with the active set in it."""

    request: AnswerRequested
    alias: Alias
    body: dict[str, Any]
    context: ContextUse | None = None  # where the alias says how long its window is
    # Where Sonant runs some of its tools.
    tools: Offered | None = None
    # The messages before those of tools that were run.
    before_rounds: list[dict[str, Any]] | None = None
    # Which active set is in the body.
    active_set: ServedSet | None = None

    @property
    def needs_tools(self) -> bool:
        """Whether the caller sent tools, or some were run. The set's own must not cost an answer its failover."""
        return bool(self.request.body.get("tools")) or self.before_rounds is not None

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the usage at the end of its stream."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def choices(self) -> int:
        """How many choices the answer is to have."""
        return self.body.get("n") or 1


async def prepare(
    request: AnswerRequested, model: str, aliases: AliasTable, active_sets: ActiveSets, toolbox: Toolbox
) -> PreparedRequest:
    """The request as the upstreams of the alias `model` are to be asked. Raises AnswerFailed."""
    alias = aliases.aliases.get(model)
    if alias is None:
        raise bad_request(404, f"The model '{model}' does not exist.", param="model", code="model_not_found")
    if isinstance(request, ChatReplyRequested):
        _check_serves(alias, "chat", f"The model '{model}' makes embeddings: call POST /v1/embeddings.")
        body, served = await with_active_set(request, alias, active_sets)
        prepared = PreparedRequest(request, alias, body, active_set=served)
        return with_tools(prepared, toolbox) if alias.tools or "tools" in prepared.body else prepared
    _check_serves(alias, "embeddings", f"The model '{model}' makes no embeddings: call POST /v1/chat/completions.")
    return PreparedRequest(request, alias, request.body)


def with_tools(prepared: PreparedRequest, toolbox: Toolbox) -> PreparedRequest:
    """The request with the tools that it is offered, those of the alias among them. Raises AnswerFailed (400)."""
    body, alias = prepared.body, prepared.alias
    off = body.get("sonant_tools") is False or body.get("tool_choice") == "none" or "functions" in body
    sources = ToolSources(
        body.get("tools") or (),
        len(prepared.request.body.get("tools") or ()),
        alias.tools if alias.calls_tools else (),
        off=off or prepared.choices > 1,
    )
    try:
        shown, offered = toolbox.offered(sources)
        if offered.own and prepared.choices > 1:
            raise ToolsRefused("Tools that Sonant runs need an answer of one choice ('n').")
    except ToolsRefused as error:
        raise bad_request(400, str(error), param="tools", code="invalid_tools") from None
    if shown or "tools" in body:
        body = {**body, "tools": shown, "messages": closed(body["messages"])}
    if not shown:
        body.pop("tools", None)
    if not offered.own:
        return prepared._replace(body=body)
    filler = None if alias.tool_filler is None else Filler(alias.tool_filler.text, alias.tool_filler.after)
    return prepared._replace(body=body, tools=offered._replace(filler=filler))


def _check_serves(alias: Alias, wanted: str, message: str) -> None:
    if alias.serves != wanted:
        raise bad_request(404, message, param="model", code="model_not_found")
