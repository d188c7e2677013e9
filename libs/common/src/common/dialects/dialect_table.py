"""The dialects by name, and what a request without a name is taken for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from common.dialects import agora, elevenlabs, hume, openai, retell, vapi
from common.dialects.prosody import last_scores
from common.dialects.reading import JsonObject, Understood

Write: TypeAlias = Callable[[JsonObject, JsonObject], JsonObject]


class Dialect(NamedTuple):
    """A platform: what tells its requests, how they are read, and how an answer is written for it."""

    name: str
    speaks: Callable[[JsonObject], bool]
    read: Callable[[JsonObject, str | None], Understood]
    write: Write
    prosody: bool = False  # whether answers carry scores without being asked


OPENAI = Dialect("openai", openai.speaks, openai.read, openai.write)
# In the order in which they are looked for: the most telling first, and last the one that speaks anything.
DIALECTS: Mapping[str, Dialect] = {
    each.name: each
    for each in (
        Dialect("hume", hume.speaks, hume.read, hume.write, prosody=True),
        Dialect("retell", retell.speaks, retell.read, retell.write),
        Dialect("vapi", vapi.speaks, vapi.read, vapi.write),
        Dialect("elevenlabs", elevenlabs.speaks, elevenlabs.read, elevenlabs.write),
        Dialect("agora", agora.speaks, agora.read, agora.write),
        OPENAI,
    )
}
# The name under which a request is looked at first.
AUTO = "auto"


def detected(body: JsonObject) -> Dialect:
    """The dialect that a request looks like."""
    return next(dialect for dialect in DIALECTS.values() if dialect.speaks(body))


def understand(dialect: Dialect, body: JsonObject, session_id: str | None, *, scores: bool | None = None) -> Understood:
    """A request in its dialect; with `scores` the answer is to carry the last of its conversation.

    None leaves that to the dialect. Raises Refused (400).
    """
    found = dialect.read(body, session_id)
    messages = found.body.get("messages")
    if not (dialect.prosody if scores is None else scores) or not isinstance(messages, list):
        return found
    last = last_scores(messages)
    return replace(found, told={**found.told, "scores": last}) if last else found
