"""Rows of the tables of jobs as their owners see them."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from common.events.media import Job, JobAttempt, JobError, JobStep, Milestone

Row = Mapping[str, Any]


def seconds(at: datetime | None) -> float | None:
    """Unix seconds."""
    return None if at is None else at.timestamp()


def read_json(text: str | None) -> Any:
    """A jsonb column, which the driver gives as text."""
    return None if text is None else orjson.loads(text)


def job(row: Row, steps: Sequence[str], attempts: Sequence[Row], history: Sequence[Row]) -> Job:
    """A job; `steps` are those of its kind."""
    milestones = [milestone(each) for each in history]
    error = read_json(row["error"])
    return Job(
        id=row["id"],
        object="job",
        kind=row["kind"],
        state=row["state"],
        percent=round(row["percent"], 1),
        step=row["step"],
        steps=step_states(row["state"], row["step"], steps, milestones),
        round=row["round"],
        cancel_requested=row["cancel"],
        created_at=row["created_at"].timestamp(),
        started_at=seconds(row["started_at"]),
        finished_at=seconds(row["finished_at"]),
        deadline_at=row["deadline_at"].timestamp(),
        expires_at=seconds(row["expires_at"]),
        cost_usd=float(row["cost_usd"]),
        input=read_json(row["input"]),
        result=read_json(row["result"]),
        error=None if error is None else JobError(**error),
        attempts=tuple(attempt(each) for each in attempts),
        history=tuple(milestones),
    )


def attempt(row: Row) -> JobAttempt:
    """One call of a job."""
    error = read_json(row["error"])
    return JobAttempt(
        number=row["number"],
        step=row["step"],
        provider=row["provider"],
        operation=row["operation"],
        outcome=row["outcome"],
        reference=row["reference"],
        cost_usd=float(row["cost_usd"]),
        started_at=row["started_at"].timestamp(),
        finished_at=seconds(row["finished_at"]),
        error=None if error is None else JobError(**error),
    )


def milestone(row: Row) -> Milestone:
    """One moment in the life of a job."""
    return Milestone(
        number=row["number"],
        event=row["event"],
        step=row["step"],
        percent=round(row["percent"], 1),
        at=row["at"].timestamp(),
    )


def step_states(
    state: str, current: str | None, steps: Sequence[str], history: Sequence[Milestone]
) -> tuple[JobStep, ...]:
    """How far the steps are; their times are those of this round, where its history is at hand."""
    reached = steps.index(current) if current in steps else -1
    begun = [each for each in _of_round(history) if each.event == "step"]
    times: dict[str | None, float] = {}
    for each in begun:
        times.setdefault(each.step, each.at)
    ends = {each.step: later.at for each, later in itertools.pairwise(begun)}
    if history and history[-1].event in ("completed", "failed", "cancelled"):
        ends[current] = history[-1].at
    found = []
    for number, name in enumerate(steps):
        of_step = _step_state(state, number, reached)
        over = of_step in ("completed", "failed")
        found.append(
            JobStep(name=name, state=of_step, started_at=times.get(name), finished_at=ends.get(name) if over else None)
        )
    return tuple(found)


def _step_state(state: str, number: int, reached: int) -> Any:
    if state == "completed":
        return "completed" if number <= reached else "waiting"
    if number == reached:
        return "failed" if state in ("failed", "cancelled") else "running"
    return "completed" if number < reached else "waiting"


def _of_round(history: Sequence[Milestone]) -> Sequence[Milestone]:
    begins = [at for at, each in enumerate(history) if each.event == "queued"]
    return history[begins[-1] :] if begins else history
