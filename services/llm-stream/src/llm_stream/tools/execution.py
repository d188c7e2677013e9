"""The calls of a round: made at the same time, each within its own time, each with a result whatever happens."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import structlog

from common.events.chat import ToolOutcome
from common.kernel.tasks import end
from common.kernel.worker_processes import WorkerProcesses
from llm_stream.ports import ToolError
from llm_stream.tools.arguments import WrongArguments, checked
from llm_stream.tools.tool import Caller, Step, Tool

log = structlog.get_logger(__name__)

# Of one organisation in a process: slow tools of one must not take what the others need.
MAX_AT_ONCE = 64
# A model reads no more with profit: some thousand tokens.
MAX_RESULT_CHARACTERS = 16_000
AGAIN = "Call the tool again with arguments that fit."
# At the end of the process, for calls that are left to finish.
LEAVING_SECONDS = 5.0


class Calls:
    """Makes the calls of all turns in this process."""

    def __init__(self, workers: WorkerProcesses) -> None:
        self._workers = workers
        self._at_work: Counter[str] = Counter()
        self._going_on: set[asyncio.Task[None]] = set()

    async def make(self, steps: Sequence[Step], caller: Caller, seconds: float, wrong_before: Collection[str]) -> None:
        """Make all of them; each step has ended then. `seconds` is the time that the turn has left.

        The model may mend the arguments of a tool once: those in `wrong_before` have been told what was wrong.
        A cancellation ends the calls, but those that are left to finish.
        """
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(self._make(step, caller, seconds, mends=step.call.name not in wrong_before))

    async def _make(self, step: Step, caller: Caller, seconds: float, *, mends: bool) -> None:
        tool = step.tool
        if tool is None:
            step.end("unknown_tool", f"There is no tool named '{step.call.name[:64]}'.")
        elif self._at_work[caller.org_id] >= MAX_AT_ONCE:
            step.end("busy", tool.fallback or "Too many tools are at work now.")
        elif tool.finishes:
            task = asyncio.create_task(self._run(step, tool, caller, tool.seconds, mends=mends))
            self._going_on.add(task)
            task.add_done_callback(self._going_on.discard)
            await asyncio.shield(task)
        else:
            await self._run(step, tool, caller, min(seconds, tool.seconds), mends=mends)

    async def _run(self, step: Step, tool: Tool, caller: Caller, seconds: float, *, mends: bool) -> None:
        with self._counted(caller.org_id):
            outcome, output = await self._outcome(step, tool, caller, seconds, mends=mends)
        if step.outcome is None:
            step.end(outcome, output)
        else:
            log.info("a tool finished after its answer", tool=tool.name, kind=tool.kind, outcome=outcome)

    @contextmanager
    def _counted(self, org_id: str) -> Iterator[None]:
        self._at_work[org_id] += 1
        try:
            yield
        finally:
            self._at_work[org_id] -= 1
            if not self._at_work[org_id]:
                del self._at_work[org_id]

    async def _outcome(
        self, step: Step, tool: Tool, caller: Caller, seconds: float, *, mends: bool
    ) -> tuple[ToolOutcome, str]:
        try:
            async with asyncio.timeout(seconds):
                arguments = await checked(caller.org_id, tool.parameters, step.call.arguments, self._workers)
                return "done", capped(await tool.run(arguments, step.call, caller))
        except WrongArguments as error:
            return "wrong_arguments", f"{error} {AGAIN}" if mends else tool.fallback or str(error)
        except ToolError as error:
            return "failed", tool.fallback or f"The tool failed: {error}"
        except TimeoutError:
            return "timed_out", tool.fallback or f"The tool did not answer within {seconds:g} s."

    async def close(self) -> None:
        """Wait a moment for calls that are left to finish, then cancel them."""
        if self._going_on:
            await asyncio.wait(self._going_on, timeout=LEAVING_SECONDS)
        await end(*self._going_on)


def capped(output: str) -> str:
    """As much of a result as a model is told."""
    if len(output) <= MAX_RESULT_CHARACTERS:
        return output
    return f"{output[:MAX_RESULT_CHARACTERS]}\n[cut: the result has {len(output)} characters]"
