"""How a config wants documents looked up for its turns."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from llm_stream.context.fit import RETRIEVED_SHARE

# More passages than this help small models little, and cost tokens in every turn.
PASSAGES = 5
# A listener notices a pause of half a second; the model needs its own time behind this.
DEADLINE_SECONDS = 0.4


class TalkRules(NamedTuple):
    """No collection named is all of them. `share` is of what the context has left, `deadline` in seconds.

    `question_model` is the alias that writes questions which lean on what was said before; None leaves that to rules.
    """

    collections: tuple[str, ...] = ()
    k: int = PASSAGES
    share: float = RETRIEVED_SHARE
    deadline: float = DEADLINE_SECONDS
    rerank: bool = True
    memory: bool = False
    question_model: str | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "TalkRules | None":
        """Those of a checked config; None where it wants no documents."""
        given = config.get("retrieval")
        if given is None:
            return None
        return cls(
            tuple(given.get("collections") or ()),
            given.get("k") or PASSAGES,
            given.get("share") or RETRIEVED_SHARE,
            given.get("deadline_secs") or DEADLINE_SECONDS,
            given.get("rerank") is not False,
            given.get("memory") is True,
            given.get("question_model"),
        )
