"""Plain OpenAI, as LiveKit, Pipecat and most others speak it: nothing is changed."""

from common.dialects.reading import JsonObject, Understood


def speaks(body: JsonObject) -> bool:
    """Any request that no platform knows as its own."""
    del body
    return True


def read(body: JsonObject, session_id: str | None) -> Understood:
    """The request as it came."""
    return Understood(body, session_id)


def write(chunk: JsonObject, told: JsonObject) -> JsonObject:
    """A chunk, or a whole answer, as it is."""
    del told
    return chunk
