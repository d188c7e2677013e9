"""Vapi's custom LLM: OpenAI's request with the call, its customer and the assistant's metadata beside it.

The session is the call. The metadata of the assistant are its operator's own words, so they may name the user and the
project. They stand in a member of their own or, as the platform says, "destructured" among the others.
"""

from common.dialects.reading import JsonObject, Understood, given_elsewhere, in_order, member, named
from common.events.prompt_variables import can_be_given

OWN = frozenset({"call", "phoneNumber", "customer", "assistant", "squad"})


def speaks(body: JsonObject) -> bool:
    """Whether a request looks like one of this platform."""
    return not OWN.isdisjoint(body)


def read(body: JsonObject, session_id: str | None) -> Understood:
    """The request, its turns in order; `session_id` is what the URL calls the session."""
    return Understood(
        {**body, **_variables(body), "messages": in_order(body.get("messages"))},
        session_id or named(member(body, "call", "id")),
        named(member(body, "metadata", "user_id"), body.get("user_id")),
        named(member(body, "metadata", "project_id"), body.get("project_id")),
        newest_wins=True,
    )


def _variables(body: JsonObject) -> JsonObject:
    """Those of the assistant; the platform has some of its own among them, which are not to fill ours."""
    given = (
        member(body, "call", "assistantOverrides", "variableValues"),
        member(body, "assistant", "variableValues"),
        member(body, "metadata", "variables"),
    )
    found = given_elsewhere(body, *given)
    if found:
        found["variables"] = {name: value for name, value in found["variables"].items() if can_be_given(name, value)}
    return found


def write(chunk: JsonObject, told: JsonObject) -> JsonObject:
    """A chunk, or a whole answer: OpenAI's own."""
    del told
    return chunk
