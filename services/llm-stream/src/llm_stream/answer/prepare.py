"""First stage: from the request as it was received to the one that upstreams are asked with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from common.clients.resources.client import ActiveSets
from common.dialects.greeting import asks_for_greeting
from common.events.chat import AnswerRequested, ChatReplyRequested, ContextUse
from common.events.search import Passage
from llm_stream.aliases import Alias, AliasTable
from llm_stream.answer.active_set import Activated, activated, merged, model_of, patient
from llm_stream.answer.context_header import context_header
from llm_stream.answer.failure import bad_request
from llm_stream.history.session_variables import SessionVariables
from llm_stream.retrieval.talk_search import TalkSearch
from llm_stream.tools.pairs import closed
from llm_stream.tools.tool import Filler
from llm_stream.tools.toolbox import Offered, Toolbox, ToolSources, ToolsRefused

# The limits of an answer's length: OpenAI's word, and the one that others know.
LENGTHS = ("max_completion_tokens", "max_tokens")
NO_RULES: Mapping[str, Any] = MappingProxyType({})


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
    active: Activated | None = None
    # What is said without asking anybody.
    greeting: str | None = None
    # What came of the cache of answers, where that was asked.
    cache: str | None = None
    # What an answer that is not streamed may say, where its key has a budget.
    most_tokens: int | None = None
    # What is looked up in documents, where the config wants that; the relevant passages once it is over.
    search: TalkSearch | None = None
    passages: tuple[Passage, ...] = ()
    # The header that names the passages which stand in the body.
    sources: Mapping[str, str] = NO_RULES

    @property
    def needs_tools(self) -> bool:
        """Whether the caller sent tools, or some were run. The set's own must not cost an answer its failover."""
        return bool(self.request.body.get("tools")) or self.before_rounds is not None

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the usage at the end of its stream."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def headers(self) -> dict[str, str]:
        """What the HTTP response says of how the request was prepared."""
        headers = ({} if self.active is None else self.active.headers) | dict(self.sources)
        if self.cache is not None:
            headers["x-sonant-cache"] = self.cache
        return headers if self.context is None else headers | context_header(self.context)

    @property
    def flags(self) -> Mapping[str, bool | float | str]:
        """The flags of the config; none where there is no active set."""
        return {} if self.active is None else self.active.use.flags or {}

    @property
    def named_tokens(self) -> int:
        """The most that a choice may say by the request; 0 where it is open."""
        return max((length for name in LENGTHS if isinstance(length := self.body.get(name), int)), default=0)

    @property
    def session_rules(self) -> Mapping[str, Any]:
        """How the config wants sessions kept; empty where it does not say."""
        return NO_RULES if self.active is None else self.active.content["config"].get("session") or NO_RULES

    @property
    def choices(self) -> int:
        """How many choices the answer is to have."""
        return self.body.get("n") or 1


async def prepare(
    request: AnswerRequested,
    model: str | None,
    aliases: AliasTable,
    active_sets: ActiveSets,
    sessions: SessionVariables,
    toolbox: Toolbox,
) -> PreparedRequest:
    """The request as the upstreams of an alias are to be asked: of `model`, or with None of the one that it names.

    Raises AnswerFailed.
    """
    active = None
    if (
        isinstance(request, ChatReplyRequested)
        and (active := await activated(request, active_sets, sessions)) is not None
    ):
        model = model or model_of(request, active, aliases)
    model = model or request.model
    alias = aliases.aliases.get(model)
    if alias is None:
        raise bad_request(404, f"The model '{model}' does not exist.", param="model", code="model_not_found")
    if isinstance(request, ChatReplyRequested):
        _check_serves(alias, "chat", f"The model '{model}' makes embeddings: call POST /v1/embeddings.")
        prepared = PreparedRequest(request, alias, request.body)
        if active is not None:
            prepared = _with_active_set(prepared, model, active)
        return with_tools(prepared, toolbox) if alias.tools or "tools" in prepared.body else prepared
    _check_serves(alias, "embeddings", f"The model '{model}' makes no embeddings: call POST /v1/chat/completions.")
    return PreparedRequest(request, alias, request.body)


def _with_active_set(prepared: PreparedRequest, model: str, active: Activated) -> PreparedRequest:
    request, alias = prepared.request, prepared.alias
    body = merged(request.body, active.content, offers_tools=alias.calls_tools)
    if model != request.model:
        active = active._replace(use=active.use.model_copy(update={"alias": model}))
    spoken = isinstance(request, ChatReplyRequested) and request.dialect is not None
    greets = active.greeting is not None and asks_for_greeting(request.body["messages"], spoken=spoken)
    return PreparedRequest(
        request, patient(alias, active), body, active=active, greeting=active.greeting if greets else None
    )


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
