"""The job that measures a file: providers in their order, until everything wanted is there, and one result of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from common.events.expressions import EXPRESSIONS_KIND, ExpressionModel, ExpressionsInput, ExpressionsResult
from common.failures import ProviderDown, Refused
from common.jobs.job_spec import JobSpec
from common.jobs.work import Work
from media.deps import Deps
from media.expressions import by_batch, by_files, by_itself
from media.expressions.measured import Found, Subject
from media.expressions.subject_file import subject_of
from media.measurement.series import MeasuredMedia, Measurement, MissingModel, ModelSeries, summaries
from media.measurement.vocabulary import common_names
from media.metrics import CONTENT_PROCESSED
from media.ports import Origin

EXPRESSIONS = JobSpec(
    kind=EXPRESSIONS_KIND,
    input=ExpressionsInput,
    result=ExpressionsResult,
    steps=("fetch", "prepare", "measure", "store"),
    summary="Measure what faces and voices express.",
    concurrency=8,
    deadline_seconds=7200.0,
)
JSON = "application/json"
SLICE_BYTES = 256 * 1024
# The provider will not do this for us: another one may. What is wrong with the file itself is for none of them.
PASSED_ON = frozenset({"provider_refused_us", "provider_unconfigured", "provider_refused", "media_too_large"})

Measure = Callable[[Sequence[ExpressionModel]], Awaitable[Found]]


async def measure(work: Work[ExpressionsInput, Deps]) -> ExpressionsResult:
    """Have a file measured, and keep the result."""
    subject = await subject_of(work)
    async with work.step("measure"):
        found, missing = await _by_those_who_can(work, subject)
    # It may be large: beside the event loop.
    measured, document = await asyncio.to_thread(_document, subject, found, missing)
    async with work.step("store"):
        asset = await work.deps.assets.store(
            work.job.org_id,
            _slices(document),
            origin=Origin(work.job.id, EXPRESSIONS_KIND),
            name="expressions.json",
            asset_id=work.asset_id("measurement"),
            content_type=JSON,
        )
    providers = tuple(dict.fromkeys(each.provider for each in found))
    for provider in providers:
        CONTENT_PROCESSED.labels(EXPRESSIONS_KIND, provider).inc()
    return ExpressionsResult(
        asset_id=asset.id,
        url=f"/v1/assets/{asset.id}",
        size=asset.size,
        providers=providers,
        media=measured.media.model_dump(mode="json"),
        models=tuple(each.model_dump(mode="json") for each in summaries(measured.models)),
        missing=tuple(each.model_dump(mode="json") for each in measured.missing),
        names=measured.names,
        warnings=measured.warnings,
        cost_usd=0.0,
    )


async def _by_those_who_can(
    work: Work[ExpressionsInput, Deps], subject: Subject
) -> tuple[list[Found], list[MissingModel]]:
    """Ask in order for what is still wanted. Where nothing is named, the first that measures is enough.

    Raises what the last one raised where nobody measured anything.
    """
    wanted, found, missing, last = list(work.input.models), list[Found](), list[MissingModel](), None
    for name in work.deps.expressions.order:
        meter = _meter(work, name, subject)
        if meter is None or (work.input.models and not set(_offered(name, subject)) & set(wanted)):
            continue
        try:
            part = await meter(wanted)
        except ProviderDown as down:
            last = down
            missing += _reasons(name, subject, wanted, down.message)
            continue
        except Refused as refused:
            if refused.code not in PASSED_ON:
                raise
            last = ProviderDown(refused.message, status=refused.status)
            missing += _reasons(name, subject, wanted, refused.message)
            continue
        found.append(part)
        missing += part.missing
        wanted = [model for model in wanted if model not in {each.model for each in part.models}]
        if not wanted:
            break
    if not any(part.models for part in found):
        raise _nobody(last, missing)
    there = {each.model for part in found for each in part.models}
    return found, _still_missing(there, wanted, missing)


def _meter(work: Work[ExpressionsInput, Deps], name: str, subject: Subject) -> Measure | None:
    """How this one measures the file; None where it is not there."""
    lab = work.deps.expressions
    if name == by_itself.NAME:
        return lambda wanted: by_itself.measure(work, subject, wanted)
    if name == "hume" and lab.files is not None:
        files = lab.files
        return lambda wanted: by_files.measure(work, files, subject, wanted)
    if name == "hume-batch" and lab.batch is not None:
        batch = lab.batch
        return lambda wanted: by_batch.measure(work, batch, subject, wanted)
    return None


def _offered(name: str, subject: Subject) -> list[ExpressionModel]:
    offers = {"hume": by_files.offered, "hume-batch": by_batch.offered}
    return offers.get(name, by_itself.offered)(subject)


def _reasons(name: str, subject: Subject, wanted: Sequence[ExpressionModel], why: str) -> list[MissingModel]:
    return [
        MissingModel(model=model, reason=f"{name}: {why}")
        for model in _offered(name, subject)
        if not wanted or model in wanted
    ]


def _still_missing(
    there: set[str], wanted: Sequence[ExpressionModel], missing: Sequence[MissingModel]
) -> list[MissingModel]:
    """For each model that nobody measured, what everybody said."""
    reasons: dict[str, list[str]] = {model: [] for model in wanted if model not in there}
    for each in missing:
        if each.model not in there:
            reasons.setdefault(each.model, []).append(each.reason)
    return [
        MissingModel(model=model, reason=" ".join(dict.fromkeys(said)) or "Nobody who is configured measures it.")
        for model, said in reasons.items()
    ]


def _nobody(last: ProviderDown | None, missing: Sequence[MissingModel]) -> Exception:
    if last is not None:
        return last
    if missing:
        return Refused(503, missing[0].reason, "model_missing", type="api_error")
    return Refused(422, "Nobody who is configured measures that of such a file.", "nothing_to_measure", "models")


def _measurement(subject: Subject, found: Sequence[Found], missing: Sequence[MissingModel]) -> Measurement:
    models: list[ModelSeries] = [each for part in found for each in part.models]
    facts = subject.facts
    return Measurement(
        provider=",".join(dict.fromkeys(part.provider for part in found)),
        media=MeasuredMedia(
            kind=facts.kind,
            content_type=facts.content_type,
            seconds=round(facts.seconds or subject.heard_seconds, 3),
            width=facts.width or None,
            height=facts.height or None,
        ),
        models=tuple(models),
        missing=tuple(missing),
        names=common_names(models),
        warnings=(*subject.warnings, *(warning for part in found for warning in part.warnings)),
    )


def _document(subject: Subject, found: Sequence[Found], missing: Sequence[MissingModel]) -> tuple[Measurement, bytes]:
    measured = _measurement(subject, found, missing)
    return measured, measured.model_dump_json(exclude_none=True).encode()


async def _slices(document: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(document), SLICE_BYTES):
        yield document[at : at + SLICE_BYTES]
