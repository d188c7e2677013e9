"""Which fields of a request go to an upstream: OpenAI's always, those of voice platforms hardly anywhere."""

from collections.abc import Mapping
from typing import Any

from llm_stream.aliases import Fields

# The body of POST /v1/chat/completions as OpenAI's reference has it, with what older clients still send.
CHAT_FIELDS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
EMBEDDING_FIELDS = frozenset({"dimensions", "encoding_format", "input", "model", "user"})

# What tells a request of Vapi, which puts the free `metadata` of its assistant beside them.
VAPI_FIELDS = frozenset({"call", "phoneNumber", "customer", "assistant", "squad"})
# What platforms put beside OpenAI's fields about the call they are in; servers that check their fields refuse them.
# LiveKit and Pipecat send none of their own. Hume's are on the messages.
VOICE_FIELDS = VAPI_FIELDS | {
    "timestamp",
    # ElevenLabs
    "elevenlabs_extra_body",
    "custom_llm_extra_body",
    "user_id",
    # Hume names the session in the query; its clients repeat it here.
    "custom_session_id",
    # Retell, whose bridges put the event of its socket beside the messages
    "interaction_type",
    "call_id",
    "response_id",
    "transcript",
    "transcript_with_tool_calls",
    "turntaking",
    # Agora
    "context",
    "turn_id",
    # Ours: whether tools are offered that Sonant runs, and what fills the variables of the active prompt.
    "sonant_tools",
    "variables",
    # Ours: what stands in front of the messages.
    "sonant_history",
}
# The same on single messages: prosody and times of Hume, turns of Agora.
VOICE_MESSAGE_FIELDS = frozenset({"models", "time", "type", "turn_id", "timestamp", "interruptable", "metadata"})


def wanted_fields(body: Mapping[str, Any], fields: Fields | None, known: frozenset[str]) -> dict[str, Any]:
    """The request with the fields that an upstream wants; `known` are OpenAI's of this endpoint."""
    if fields == "all":
        return dict(body)
    if fields == "strict":
        return {name: value for name, value in body.items() if name in known and not _is_vapi_metadata(name, body)}
    if VOICE_FIELDS.isdisjoint(body):
        return dict(body)
    return {
        name: value for name, value in body.items() if name not in VOICE_FIELDS and not _is_vapi_metadata(name, body)
    }


def _is_vapi_metadata(name: str, body: Mapping[str, Any]) -> bool:
    """Whether this is the assistant's metadata, which has the name of a field of OpenAI with another shape."""
    return name == "metadata" and not VAPI_FIELDS.isdisjoint(body)


def wanted_message(message: dict[str, Any], fields: Fields | None) -> dict[str, Any]:
    """A message with the fields that an upstream wants."""
    if fields == "all" or VOICE_MESSAGE_FIELDS.isdisjoint(message):
        return message
    return {name: value for name, value in message.items() if name not in VOICE_MESSAGE_FIELDS}
