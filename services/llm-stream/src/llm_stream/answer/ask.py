"""Second stage: an upstream is asked what was prepared, in its own terms."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from common.events.embeddings import EmbeddingsRequested
from llm_stream.aliases import Upstream
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.embeddings import embeddings_request
from llm_stream.answer.instructions import one_leading
from llm_stream.answer.request_fields import CHAT_FIELDS, wanted_fields, wanted_message
from llm_stream.ports import ChatModel, Endpoint, UpstreamAnswer

# Of a user: many templates let nobody else speak last, and know system messages at the beginning alone.
CONTINUE = "Continue the assistant's answer exactly where it stops. Repeat none of it."


def ask(attempt: Attempt, released: str, chat_model: ChatModel) -> AbstractAsyncContextManager[UpstreamAnswer]:
    """The upstream's answer, entered once it is accepted; where text was released, one that goes on from there.

    Entering it raises UpstreamError.
    """
    prepared = attempt.prepared
    if isinstance(prepared.request, EmbeddingsRequested):
        vectors = embeddings_request(prepared.body, attempt.upstream)
        return chat_model.ask(attempt.upstream, vectors, attempt.patience, Endpoint.EMBEDDINGS)
    request = merge_request(prepared.body, attempt.upstream, stream=prepared.request.stream, released=released)
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
    if released:
        request["messages"] += [{"role": "assistant", "content": released}, {"role": "user", "content": CONTINUE}]
    return request
