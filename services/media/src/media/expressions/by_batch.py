"""Measurement by jobs of a provider: begun once, found again by the name of its file, polled or called back."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.events.backoff import Backoff
from common.events.expressions import ExpressionModel
from common.failures import ProviderDown, Refused
from media.expressions.measured import AnswerLost, ExpressionWork, Found, Subject, wanted_of
from media.expressions.paid_calls import TRIES, certainly_not_done
from media.measurement.series import Box, MissingModel, ModelSeries, Sample, Track
from media.ports import BatchMeasurement, BatchOrder

# What it takes as a file; larger ones it fetches itself, where they have an address.
MAX_LOCAL_BYTES = 100_000_000
POLLS = Backoff(attempts=1_000_000, first=1.0, ceiling=10.0)
MISSED_LOOKS = 30
JOB = "batch:job"
BEGUN = "batch:begun"


def offered(subject: Subject) -> list[ExpressionModel]:
    """What it can measure of such a file."""
    sound: list[ExpressionModel] = ["prosody", "burst", "language"] if subject.facts.has_audio else []
    return sound if subject.facts.kind == "audio" else ["face", *sound]


async def measure(
    work: ExpressionWork, meter: BatchMeasurement, subject: Subject, wanted: Sequence[ExpressionModel]
) -> Found:
    """Raises Refused and ProviderDown."""
    models = wanted_of(offered(subject), wanted)
    async with work.attempt(meter.name, "batch") as attempt:
        try:
            async with asyncio.timeout(work.deps.expressions.wait_seconds):
                job_id = await _begun(work, meter, subject, models)
                attempt.reference = job_id
                await _ended(work, meter, job_id)
                sources = await meter.predictions(job_id)
        except TimeoutError:
            raise ProviderDown("The provider was not done in time.") from None
    return _found(meter.name, sources, models)


async def _begun(
    work: ExpressionWork, meter: BatchMeasurement, subject: Subject, models: Sequence[ExpressionModel]
) -> str:
    """The id of the job at the provider. One whose acknowledgement was lost is looked up, and not begun twice."""
    known: str | None = await work.recall(JOB)
    if known is not None:
        return known
    reference = f"{work.job.id}-{work.job.round}"
    order, attempt, job_id = await _order(work, subject, reference, models), 0, None
    while job_id is None:
        attempt += 1
        if await work.recall(BEGUN) is not None:
            if order.path is None:
                # By its URL alone nobody can tell it from others.
                raise AnswerLost("The provider may have begun the job; it is not begun, and paid, again.")
            job_id = await _found_again(work, meter, reference)
        if job_id is None:
            job_id = await _started(work, meter, order, attempt)
    await work.remember(JOB, job_id)
    return job_id


async def _started(work: ExpressionWork, meter: BatchMeasurement, order: BatchOrder, attempt: int) -> str | None:
    """The id of a new job; None where it has to be looked up. Raises what lasts, and what failed too often."""
    await work.remember(BEGUN, order.reference)
    try:
        return await meter.start(order)
    except Refused:
        await work.forget(BEGUN)
        raise
    except ProviderDown as down:
        delay = TRIES.delay(attempt)
        if certainly_not_done(down):
            await work.forget(BEGUN)
            if delay is None:
                raise
        await work.sleep(max(delay or TRIES.ceiling, min(down.retry_after or 0.0, 30.0)))
        return None


async def _found_again(work: ExpressionWork, meter: BatchMeasurement, reference: str) -> str | None:
    missed = 0
    while True:
        try:
            return await meter.find(reference)
        except ProviderDown as down:
            missed += 1
            if missed >= MISSED_LOOKS:
                raise
            await work.sleep(max(POLLS.delay(missed) or 1.0, min(down.retry_after or 0.0, 30.0)))


async def _order(
    work: ExpressionWork, subject: Subject, reference: str, models: Sequence[ExpressionModel]
) -> BatchOrder:
    size = (await asyncio.to_thread(subject.path.stat)).st_size
    if size > MAX_LOCAL_BYTES and subject.url is None:
        raise Refused(422, f"This provider takes files of at most {MAX_LOCAL_BYTES} bytes.", "media_too_large")
    local = size <= MAX_LOCAL_BYTES
    return BatchOrder(
        models=models,
        reference=reference,
        path=subject.path if local else None,
        url=None if local else subject.url,
        callback_url=work.deps.expressions.callback_of(work.job.id),
    )


async def _ended(work: ExpressionWork, meter: BatchMeasurement, job_id: str) -> None:
    """Wait for its end: a callback ends a wait early, and what it says is asked for all the same."""
    looks = missed = 0
    while True:
        looks += 1
        await work.sleep(POLLS.delay(looks) or POLLS.ceiling)
        try:
            found = await meter.look(job_id)
        except ProviderDown:
            missed += 1
            if missed >= MISSED_LOOKS:
                raise
            continue
        missed = 0
        if found.state == "completed":
            return
        if found.state == "failed":
            await _forgotten(work)
            raise ProviderDown(f"The provider failed: {found.message[:300]}", status=500)


async def _forgotten(work: ExpressionWork) -> None:
    for key in (JOB, BEGUN):
        await work.forget(key)


# -- what it found -----------------------------------------------------------------------------------------------------


def _found(provider: str, sources: Sequence[Mapping[str, Any]], models: Sequence[ExpressionModel]) -> Found:
    warnings, files = list[str](), list[Mapping[str, Any]]()
    for source in sources:
        results = source.get("results") or {}
        errors = [*(results.get("errors") or ()), *([{"message": source["error"]}] if source.get("error") else ())]
        warnings += [str(each.get("message", ""))[:300] for each in errors]
        files += results.get("predictions") or ()
    if not files and warnings:
        raise Refused(422, f"The provider could not measure it: {warnings[0]}", "provider_refused")
    found = [_series(model, file["models"][model]) for file in files for model in models if model in file["models"]]
    there = {each.model for each in found}
    missing = [MissingModel(model=each, reason="The provider found nothing.") for each in models if each not in there]
    return Found(provider, found, missing, warnings)


def _series(model: str, native: Mapping[str, Any]) -> ModelSeries:
    kind = "face" if model == "face" else "speaker"
    tracks = tuple(
        Track(id=f"{kind}-{group.get('id', number)}", kind=kind, samples=tuple(_samples(group)))
        for number, group in enumerate(native.get("grouped_predictions") or ())
    )
    return ModelSeries(model=model, native=model, unit="score", tracks=tracks)


def _samples(group: Mapping[str, Any]) -> Iterator[Sample]:
    """Times are seconds here: a moment of a face, a stretch of a voice."""
    for each in group.get("predictions") or ():
        time, box = each.get("time"), each.get("box")
        stretch = time if isinstance(time, Mapping) else {"begin": time or 0.0, "end": None}
        yield Sample(
            begin=float(stretch.get("begin") or 0.0),
            end=stretch.get("end"),
            scores={str(score["name"]): float(score["score"]) for score in each.get("emotions") or ()},
            box=None if box is None else Box(x=box["x"], y=box["y"], width=box["w"], height=box["h"]),
            confidence=each.get("prob", each.get("confidence")),
            text=each.get("text"),
        )
