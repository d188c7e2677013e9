"""Second stage: an upstream is asked what was prepared, in its own terms."""

import re
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

from common.events.chat import ChatReplyRequested
from common.events.embeddings import EmbeddingsRequested
from llm_stream.aliases import Upstream
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.embeddings import embeddings_request
from llm_stream.answer.instructions import one_leading
from llm_stream.answer.prepare import LENGTHS
from llm_stream.answer.request_fields import CHAT_FIELDS, wanted_fields, wanted_message
from llm_stream.ports import ChatModel, Endpoint, UpstreamAnswer

OPENAI_HOST = re.compile(r"(.*\.)?(openai\.com|openai\.azure\.com)")
# Of a user: many templates let nobody else speak last, and know system messages at the beginning alone.
CONTINUE = "Continue the assistant's answer exactly where it stops. Repeat none of it."


def ask(attempt: Attempt, released: str, chat_model: ChatModel) -> AbstractAsyncContextManager[UpstreamAnswer]:
    """The upstream's answer, entered once it is accepted; where more than white space was released, one that goes on
    from there.

    Entering it raises UpstreamError.
    """
    prepared = attempt.prepared
    if isinstance(prepared.request, EmbeddingsRequested):
        vectors = embeddings_request(prepared.body, attempt.upstream)
        return chat_model.ask(attempt.upstream, vectors, attempt.patience, Endpoint.EMBEDDINGS)
    request = merge_request(prepared.body, attempt.upstream, stream=prepared.request.stream, released=released)
    if isinstance(prepared.request, ChatReplyRequested) and prepared.request.answer_tokens is not None:
        limit_length(request, attempt.upstream, prepared.request.answer_tokens)
    if prepared.most_tokens is not None:
        limit_length(request, attempt.upstream, prepared.most_tokens)
    return chat_model.ask(attempt.upstream, request, attempt.patience)


def merge_request(body: dict[str, Any], upstream: Upstream, *, stream: bool, released: str) -> dict[str, Any]:
    """The upstream's request: the caller's body with our model, our stream options, and what to continue from.

    One that cannot call tools is only asked where the caller sent none: those of the active set are left out.
    """
    request = wanted_fields(body, upstream.fields, CHAT_FIELDS)
    request |= {"model": upstream.model, "stream": stream}
    messages = [wanted_message(message, upstream.fields) for message in body["messages"]]
    request["messages"] = one_leading(messages, knows_developer="developer" in upstream.capabilities)
    request.pop("stream_options", None)
    if "tools" not in upstream.capabilities:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            request.pop(name, None)
    if stream and "stream_usage" in upstream.capabilities:
        request["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if released.strip():
        request["messages"] = continued(request["messages"], released)
    return request


def continued(messages: list[dict[str, Any]], released: str) -> list[dict[str, Any]]:
    """The conversation with what was released of its answer, and the request to go on from there."""
    before, said = messages, released
    # An answer that the client began itself is one message with ours: many templates want the roles to take turns.
    last = messages[-1] if messages else {}
    if last.keys() == {"role", "content"} and last["role"] == "assistant" and isinstance(last["content"], str):
        before, said = messages[:-1], last["content"] + released
    return [*before, {"role": "assistant", "content": said}, {"role": "user", "content": CONTINUE}]


def limit_length(request: dict[str, Any], upstream: Upstream, tokens: int) -> None:
    """Have each choice say no more than that, in the word that the upstream knows."""
    named = [name for name in LENGTHS if request.get(name) is not None]
    for name in named or [LENGTHS[0] if is_openai(upstream) else LENGTHS[1]]:
        request[name] = min(request.get(name) or tokens, tokens)


def is_openai(upstream: Upstream) -> bool:
    """Whether this is OpenAI itself, whose reasoning models refuse the older word for the length of an answer."""
    return OPENAI_HOST.fullmatch(urlsplit(upstream.base_url).hostname or "") is not None
