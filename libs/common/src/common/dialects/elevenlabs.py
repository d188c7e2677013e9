"""ElevenLabs' custom LLM: OpenAI's request, chat or Responses, with the extra body that the agent's client sets.

The extra body is `custom_llm_extra_body` of the conversation, which arrives as `elevenlabs_extra_body`. It may name the
session, the user and the project, and give variables of the active prompt.
"""

from common.dialects.reading import JsonObject, Understood, given_elsewhere, in_order, member, named

EXTRA = ("elevenlabs_extra_body", "custom_llm_extra_body")


def speaks(body: JsonObject) -> bool:
    """Whether a request looks like one of this platform."""
    return any(name in body for name in EXTRA)


def read(body: JsonObject, session_id: str | None) -> Understood:
    """The request, its turns in order; `session_id` is what the URL calls the session."""
    return Understood(
        {**body, **_variables(body), "messages": in_order(body.get("messages"))},
        session_id or named(*(member(body, extra, "session_id") for extra in EXTRA)),
        named(*(member(body, extra, "user_id") for extra in EXTRA), body.get("user_id")),
        named(*(member(body, extra, "project_id") for extra in EXTRA)),
        newest_wins=True,
    )


def _variables(body: JsonObject) -> JsonObject:
    return given_elsewhere(body, *(member(body, extra, "variables") for extra in EXTRA))


def write(chunk: JsonObject, told: JsonObject) -> JsonObject:
    """A chunk, or a whole answer: OpenAI's own."""
    del told
    return chunk
