"""Jobs in PostgreSQL: the port `JobStore` over the tables of a schema that has a unit of work."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from common.events.media import MAX_ATTEMPTS, MAX_MILESTONES, Job, JobList, JobListRequested, JobRequested, JobState
from common.failures import Park
from common.jobs import job_rows
from common.jobs import job_statements as sql
from common.jobs.job_store import AttemptEnd, Bounds, Depth, JobEnd, JobHead, Lease, LeaseLost
from common.storage.postgres import Pool, transient

QUEUE_FULL = {"message": "Too many jobs wait already; try again later.", "code": "queue_full"}
LATE = {"message": "It was not done before its deadline.", "code": "deadline_exceeded"}
# What a database column holds.
LAST_MOMENT = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class PostgresJobs:
    """The port `JobStore`. `bounds` are those of every kind that may be accepted."""

    def __init__(self, pool: Pool, schema: str, bounds: Mapping[str, Bounds]) -> None:
        self._pool = pool
        self._schema = f'"{schema}".'
        self._bounds = bounds

    def _sql(self, statement: str) -> str:
        return statement.replace("JOBS.", self._schema)

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        async with transient():
            return list(await self._pool.fetch(self._sql(statement), *values))

    async def _value(self, statement: str, *values: Any) -> Any:
        async with transient():
            return await self._pool.fetchval(self._sql(statement), *values)

    async def _ours(self, statement: str, lease: Lease, *values: Any) -> Any:
        """The value of a statement that a worker's claim allows; raises LeaseLost."""
        found = await self._value(statement, lease.job_id, lease.fence, *values)
        if found is None:
            raise LeaseLost(lease.job_id)
        return found

    # -- those who ask

    async def accept(self, requests: Sequence[JobRequested]) -> None:
        depths = {(depth.kind, depth.org_id): depth.jobs for depth in await self.depths()}
        totals: dict[str, int] = {}
        for (kind, _), jobs in depths.items():
            totals[kind] = totals.get(kind, 0) + jobs
        rows = []
        for request in requests:
            bounds, place = self._bounds[request.kind], (request.kind, request.org_id)
            full = totals.get(request.kind, 0) >= bounds.queue or depths.get(place, 0) >= bounds.share
            rows.append(_row(request, bounds, full=full))
            if not full:
                depths[place] = depths.get(place, 0) + 1
                totals[request.kind] = totals.get(request.kind, 0) + 1
        await self._value(sql.ACCEPT, orjson.dumps(rows).decode())

    async def get(self, org_id: str, job_id: str) -> Job | None:
        async with transient(), self._pool.acquire() as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                row = await connection.fetchrow(self._sql(sql.JOB), org_id, job_id)
                if row is None:
                    return None
                attempts = await connection.fetch(self._sql(sql.ATTEMPTS), job_id, MAX_ATTEMPTS)
                history = await connection.fetch(self._sql(sql.MILESTONES), job_id, MAX_MILESTONES)
        return job_rows.job(row, self._steps(row["kind"]), attempts[::-1], history[::-1])

    async def page(self, query: JobListRequested) -> JobList:
        rows = await self._fetch(
            sql.PAGE,
            query.org_id,
            query.kind,
            query.state,
            query.created_since,
            query.created_until,
            query.after,
            query.limit + 1,
        )
        shown = [job_rows.job(row, self._steps(row["kind"]), (), ()) for row in rows[: query.limit]]
        return JobList(object="list", data=tuple(shown), has_more=len(rows) > query.limit)

    async def cancel(self, org_id: str, job_id: str) -> JobState | None:
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._sql(sql.ASK_END), org_id, [job_id])
            row = await connection.fetchrow(self._sql(sql.JOB), org_id, job_id)
            if row is None:
                return None
            keep = self._bounds[row["kind"]].keep_seconds
            if await connection.fetchval(self._sql(sql.CANCEL_WAITING), org_id, [job_id], keep):
                return "cancelled"
            state: JobState = row["state"]
            return state

    async def cancel_all(self, org_id: str, kind: str, job_ids: Sequence[str]) -> Sequence[str]:
        keep = self._bounds[kind].keep_seconds
        async with transient(), self._pool.acquire() as connection, connection.transaction():
            asked = await connection.fetch(self._sql(sql.ASK_END), org_id, list(job_ids))
            await connection.execute(self._sql(sql.CANCEL_WAITING), org_id, list(job_ids), keep)
        return [row["id"] for row in asked if row["state"] == "running"]

    async def retry(self, org_id: str, job_id: str, command_id: str) -> bool:
        async with transient():
            row = await self._pool.fetchrow(self._sql(sql.JOB), org_id, job_id)
        if row is None or row["kind"] not in self._bounds:
            return False
        seconds = self._bounds[row["kind"]].deadline_seconds
        if await self._value(sql.RETRY, org_id, job_id, command_id, seconds):
            return True
        return bool(await self._value(sql.RETRIED, org_id, job_id, command_id))

    # -- those who work

    async def due(self) -> Collection[str]:
        return {row["kind"] for row in await self._fetch(sql.DUE)}

    async def claim(self, worker: str, kind: str, limit: int, lease_seconds: float) -> Sequence[JobHead]:
        rows = await self._fetch(sql.CLAIM, kind, limit, worker, lease_seconds)
        return [_head(row) for row in rows]

    async def renew(self, percents: Mapping[Lease, float], lease_seconds: float) -> Mapping[str, bool]:
        # In one order everywhere, or two who hold some of the same would wait for each other.
        held = sorted(percents, key=lambda lease: lease.job_id)
        rows = await self._fetch(
            sql.RENEW,
            [lease.job_id for lease in held],
            [lease.fence for lease in held],
            [percents[lease] for lease in held],
            lease_seconds,
        )
        return {row["id"]: row["cancel"] for row in rows}

    async def free_of(self, worker_prefix: str) -> int:
        async with transient():
            status = await self._pool.execute(self._sql(sql.FREE), worker_prefix)
        return int(status.rpartition(" ")[2])

    async def milestone(self, lease: Lease, event: str, step: str | None, percent: float) -> int:
        number: int = await self._ours(sql.NOTE, lease, event, step, percent)
        return number

    async def remember(self, lease: Lease, key: str, value: Any) -> None:
        await self._ours(sql.REMEMBER, lease, key, orjson.dumps(storable(value)).decode())

    async def recall(self, lease: Lease) -> dict[str, Any]:
        rows = await self._fetch(sql.RECALL, lease.job_id, lease.fence)
        if not rows:
            raise LeaseLost(lease.job_id)
        return {row["key"]: orjson.loads(row["value"]) for row in rows if row["key"] is not None}

    async def forget(self, lease: Lease, key: str) -> None:
        await self._ours(sql.FORGET, lease, key)

    async def begin_attempt(
        self, lease: Lease, step: str | None, provider: str, operation: str, lease_seconds: float
    ) -> int:
        number: int = await self._ours(sql.BEGIN_ATTEMPT, lease, step, provider, operation, lease_seconds)
        return number

    async def end_attempt(self, lease: Lease, number: int, end: AttemptEnd) -> None:
        await self._ours(sql.END_ATTEMPT, lease, number, end.outcome, end.cost_usd, end.reference, _json(end.error))

    async def finish(self, lease: Lease, end: JobEnd) -> None:
        values = (end.state, _json(end.result), _json(end.error), end.keep_seconds)
        await self._ours(sql.FINISH, lease, *values)

    async def postpone(self, lease: Lease, seconds: float, error: Any) -> None:
        await self._ours(sql.POSTPONE, lease, seconds, _json(error))

    async def release(self, lease: Lease) -> None:
        await self._ours(sql.RELEASE, lease)

    # -- housekeeping

    async def depths(self) -> Sequence[Depth]:
        return [Depth(**dict(row)) for row in await self._fetch(sql.QUEUED)]

    async def end_late(self, kinds: Collection[str]) -> int:
        ended = 0
        for kind in kinds:
            ended += await self._value(sql.END_LATE, kind, self._bounds[kind].keep_seconds, _json(LATE))
        return ended

    async def expired(self, limit: int) -> Sequence[tuple[str, str]]:
        return [(row["org_id"], row["id"]) for row in await self._fetch(sql.EXPIRED, limit)]

    async def delete(self, job_ids: Sequence[str]) -> None:
        await self._fetch(sql.DELETE, list(job_ids))

    def _steps(self, kind: str) -> Sequence[str]:
        return self._bounds[kind].steps if kind in self._bounds else ()


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(storable(value)).decode()


def _row(request: JobRequested, bounds: Bounds, *, full: bool) -> dict[str, Any]:
    seconds = bounds.deadline_seconds
    if request.deadline_seconds is not None:
        seconds = min(seconds, request.deadline_seconds)
    return {
        "id": request.job_id,
        "org_id": request.org_id,
        "key_id": request.key_id,
        "user_id": request.user_id,
        "kind": request.kind,
        "state": "failed" if full else "queued",
        "input": request.input,
        "error": QUEUE_FULL if full else None,
        "webhook": request.webhook,
        "created_at": request.requested_at,
        "deadline_at": request.requested_at + seconds,
        "keep_seconds": bounds.keep_seconds,
    }


def checked(request: JobRequested) -> JobRequested:
    """The request as a table can hold it. Raises Park for one that none can."""
    if not 0 <= request.requested_at < LAST_MOMENT or not (request.deadline_seconds or 1.0) > 0:
        raise Park(f"no moment in time: {request.requested_at}, {request.deadline_seconds}")
    if max(map(len, (request.job_id, request.org_id, request.key_id, request.user_id, request.kind))) > 500:
        raise Park("an id is too long")
    return request.model_copy(update=storable(request.model_dump()))


def storable(value: Any) -> Any:
    """JSON without what a jsonb column refuses: NUL in texts becomes U+FFFD."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, Mapping):
        return {storable(name): storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value


def _head(row: Mapping[str, Any]) -> JobHead:
    return JobHead(
        id=row["id"],
        org_id=row["org_id"],
        key_id=row["key_id"],
        user_id=row["user_id"],
        kind=row["kind"],
        round=row["round"],
        created_at=row["created_at"],
        deadline=row["deadline"],
        input=orjson.loads(row["input"]),
        lease=Lease(row["id"], row["fence"]),
        tries=row["tries"],
        deaths=row["deaths"],
        step=row["step"],
        percent=row["percent"],
        milestones=row["milestones"],
    )
