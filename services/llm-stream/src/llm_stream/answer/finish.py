"""Last stage: what was held back of the end is sent, and what the answer cost is settled."""

from typing import NamedTuple, Protocol

from common.events.chat import Usage
from llm_stream.aliases import Upstream
from llm_stream.answer.attempt import Attempt
from llm_stream.answer.rounds import Rounds, added
from llm_stream.answer.usage import usage_of
from llm_stream.upstream.reported_usage import ReportedUsage


class HeardAnswer(Protocol):
    """An answer of which everything was heard, and whose end was not sent yet."""

    attempt: Attempt
    model: str
    usage: ReportedUsage | None  # where the upstream reported any
    finish_reason: str | None

    def finish(self, usage: Usage) -> None:
        """Send what was held back."""
        ...

    def plain_text(self) -> str | None:
        """All that it said, where that is the text of one choice and nothing else; to be asked once it was sent."""
        ...


class FinishedAnswer(NamedTuple):
    """A whole answer, sent to its end. `upstream` is None where nobody had to be asked."""

    upstream: Upstream | None
    model: str | None
    usage: Usage
    cost_usd: float
    finish_reason: str | None
    heard: HeardAnswer | None = None


def finish(heard: HeardAnswer, rounds: Rounds) -> FinishedAnswer:
    """Send the end of an answer; what it cost is told with that of the `rounds` before it."""
    attempt = heard.attempt
    usage = usage_of(heard.usage, attempt.prepared.body, attempt.estimated_tokens)
    cost = attempt.upstream.price.cost(usage.prompt_tokens, usage.completion_tokens)
    if rounds.count:
        usage, cost = added(rounds.usage, usage), rounds.cost_usd + cost
        # The upstream's own total is that of its last round.
        heard.usage = heard.usage and heard.usage._replace(total_tokens=None)
    heard.finish(usage)
    return FinishedAnswer(attempt.upstream, heard.model, usage, cost, heard.finish_reason, heard)
