"""The rounds of calls that an answer has had so far, and what they cost."""

from common.events.chat import ToolStep, Usage
from common.metrics import labelled
from llm_stream.answer.attempt import Attempt
from llm_stream.metrics import TOOL_CALLS, TOOL_SECONDS
from llm_stream.tools.tool import MAX_KEPT_CHARACTERS, Step
from llm_stream.upstream.values import MAX_COUNT, JsonObject

NO_USAGE = Usage()
# Of all calls together: a fact is one record of the log.
MAX_FACT_CHARACTERS = 128_000


class Rounds:
    """The calls of one answer, the messages they made, and the cost of what the model said before the last of them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.messages: list[JsonObject] = []
        self.count = 0
        self.usage = NO_USAGE
        self.cost_usd = 0.0
        # The attempt whose cost is in them already.
        self.settled: Attempt | None = None
        # Tools whose arguments were wrong once.
        self.wrong: set[str] = set()

    def settle(self, attempt: Attempt, used: Usage) -> None:
        """Take the cost of what the model said before it is asked again."""
        self.cost_usd += attempt.upstream.price.cost(used.prompt_tokens, used.completion_tokens)
        self.usage = added(self.usage, used)
        self.settled = attempt

    def records(self) -> tuple[ToolStep, ...]:
        """All calls, as the fact tells them; those that the end of the answer has met are closed."""
        for step in self.steps:
            step.interrupt()
        most = min(MAX_KEPT_CHARACTERS, MAX_FACT_CHARACTERS // max(1, 2 * len(self.steps)))
        return tuple(_counted(step, most) for step in self.steps)


def added(first: Usage, second: Usage) -> Usage:
    """Both together."""
    return Usage(
        prompt_tokens=min(first.prompt_tokens + second.prompt_tokens, MAX_COUNT),
        completion_tokens=min(first.completion_tokens + second.completion_tokens, MAX_COUNT),
        total_tokens=min(first.total_tokens + second.total_tokens, MAX_COUNT),
        estimated=first.estimated or second.estimated,
    )


def _counted(step: Step, most: int) -> ToolStep:
    record = step.record(most)
    kind = record.kind or "none"
    labelled(TOOL_CALLS, kind, record.outcome).inc()
    labelled(TOOL_SECONDS, kind).observe(step.seconds)
    return record
