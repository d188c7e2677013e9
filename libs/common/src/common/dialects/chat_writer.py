"""A chat completion as a voice platform wants it: OpenAI's chunks, with what the platform reads in them."""

from typing import Any

import orjson

from common.dialects.dialect_table import DIALECTS, OPENAI
from common.dialects.prosody import write_scores
from common.dialects.reading import JsonObject

DONE = b"[DONE]"


class ChatWriter:
    """Writes one answer in the dialect `name`; one that is not known here is written as OpenAI's.

    With `scores` in `told` every choice carries them.
    """

    def __init__(self, name: str, told: JsonObject) -> None:
        self._write = DIALECTS.get(name, OPENAI).write
        self._told = {key: value for key, value in told.items() if key != "scores"}
        # Written once: every chunk repeats them.
        self._scores: Any = orjson.Fragment(orjson.dumps(told["scores"])) if "scores" in told else None

    def chunk(self, payload: bytes) -> bytes:
        """One chunk, or the end of the stream, which stays as it is."""
        return payload if payload == DONE else self.whole(payload)

    def whole(self, body: bytes) -> bytes:
        """An answer in one piece."""
        answer = self._write(orjson.loads(body), self._told)
        return orjson.dumps(answer if self._scores is None else write_scores(answer, self._scores))
