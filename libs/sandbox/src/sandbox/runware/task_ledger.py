"""What the stand-in of Runware knows: accounts, the tasks they submitted, and what was charged for them.

With a folder it is kept in a journal there, as a provider keeps it: the death of this process changes nothing.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from sandbox.hume.faults import Plan, Planned, parse

TASK_SECONDS = 1.0
USD_PER_SECOND = 0.036
DIRECTIVE = "sandbox:"
JOURNAL = "runware.jsonl"
# Beyond these the oldest are forgotten.
MAX_TASKS = 20_000


@dataclass(slots=True)
class Task:
    """One video task. `directives` are the words `sandbox:…` of its prompt; times are unix seconds."""

    uuid: str
    body: dict[str, Any]
    submitted_at: float
    seconds: float
    polls: int = 0
    submissions: int = 1
    executions: int = 1
    polled: int = 0

    @property
    def directives(self) -> frozenset[str]:
        words = str(self.body.get("positivePrompt", "")).split()
        return frozenset(word.removeprefix(DIRECTIVE) for word in words if word.startswith(DIRECTIVE))

    @property
    def failure(self) -> str | None:
        """The code with which it fails, None where it succeeds."""
        return next((word.removeprefix("fail-") for word in self.directives if word.startswith("fail-")), None)

    @property
    def cost(self) -> float:
        return round(USD_PER_SECOND * float(self.body.get("duration", 0)), 4)

    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        passed = (time.time() - self.submitted_at) / self.seconds if self.seconds else 1.0
        return min(1.0, passed) if self.polled >= self.polls or passed < 1 else 0.99


@dataclass(slots=True)
class RunwareAccount:
    """What belongs to one API key, and how its requests fare. `duplicates` says what a known task id does."""

    key: str
    task_seconds: float = TASK_SECONDS
    polls: int = 0
    duplicates: str = "replay"
    plan: Plan = field(default_factory=Plan)
    tasks: dict[str, Task] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        """Totals: calls by type, tasks, and for each task how often it was submitted and charged."""
        tasks = self.tasks.values()
        charged = [task for task in tasks if task.failure is None]
        return {
            "calls": dict(self.calls),
            "tasks": len(self.tasks),
            "charged_usd": round(sum(task.cost * task.executions for task in charged), 4),
            "submissions": {task.uuid: task.submissions for task in tasks},
            "charges": {task.uuid: task.executions for task in charged},
            "prompts": {task.uuid: task.body.get("positivePrompt") for task in tasks},
        }


class Ledger:
    """All accounts."""

    def __init__(self, folder: str | None = None) -> None:
        self._accounts: dict[str, RunwareAccount] = {}
        self._journal: int | None = None
        if folder:
            path = Path(folder) / JOURNAL
            path.parent.mkdir(parents=True, exist_ok=True)
            for entry in _entries(path):
                self._replay(entry)
            self._journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def of(self, key: str) -> RunwareAccount:
        """The account of a key; any key has one."""
        return self._accounts.setdefault(key, RunwareAccount(key))

    def find(self, uuid: str) -> Task | None:
        """A task of whichever account: its results are public."""
        return next((each.tasks[uuid] for each in self._accounts.values() if uuid in each.tasks), None)

    def arrange(self, key: str, order: dict[str, Any]) -> RunwareAccount:
        """Set how the later requests of an account fare; what it has stays. Raises UnknownFault."""
        account = self.of(key)
        plan = Plan()
        plan.planned.extend(
            Planned(parse(str(each["do"])), each.get("times", 1), "", str(each.get("task_type", "")))
            for each in order.get("faults", [])
        )
        account.plan = plan
        account.task_seconds = float(order.get("task_seconds", TASK_SECONDS))
        account.polls = int(order.get("polls", 0))
        account.duplicates = str(order.get("duplicates", "replay"))
        plain = {name: value for name, value in order.items() if name != "faults"}
        self._write({"kind": "order", "key": key, "order": plain})
        return account

    def submit(self, account: RunwareAccount, body: dict[str, Any]) -> Task:
        """Take a task in, or a repetition of one."""
        uuid = body["taskUUID"]
        self._write({"kind": "task", "key": account.key, "body": body, "at": time.time()})
        return self._take(account, uuid, body, time.time())

    def _take(self, account: RunwareAccount, uuid: str, body: dict[str, Any], at: float) -> Task:
        task = account.tasks.get(uuid)
        if task is not None:
            task.submissions += 1
            task.executions += account.duplicates == "again"
            return task
        while len(account.tasks) >= MAX_TASKS:
            del account.tasks[next(iter(account.tasks))]
        asked = [word.removeprefix("seconds-") for word in Task(uuid, body, at, 0).directives if "seconds-" in word]
        seconds = float(asked[0]) if asked else account.task_seconds
        account.tasks[uuid] = Task(uuid, body, at, seconds, account.polls)
        return account.tasks[uuid]

    def drop(self, key: str) -> None:
        """Forget one account."""
        self._accounts.pop(key, None)
        self._write({"kind": "drop", "key": key})

    def reset(self) -> None:
        """Forget everything."""
        self._accounts.clear()
        self._write({"kind": "reset"})

    def _replay(self, entry: dict[str, Any]) -> None:
        key = entry.get("key", "")
        if entry["kind"] == "task":
            body = entry["body"]
            self._take(self.of(key), body["taskUUID"], body, entry["at"])
        elif entry["kind"] == "order":
            self.arrange(key, entry["order"])
        elif entry["kind"] == "drop":
            self.drop(key)
        else:
            self.reset()

    def _write(self, entry: dict[str, Any]) -> None:
        if self._journal is not None:
            os.write(self._journal, orjson.dumps(entry) + b"\n")


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            # The last line of a process that was killed.
            continue


def describe(task: Task) -> dict[str, Any]:
    """A task as it is kept, for whoever looks into the stand-in."""
    return asdict(task)


LEDGER: web.AppKey[Ledger] = web.AppKey("runware_ledger", Ledger)
