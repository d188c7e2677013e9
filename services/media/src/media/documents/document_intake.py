"""The job that takes a document in: fetched, read, cut, embedded, and searched in place of the one before, at once."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.events.documents import DOCUMENT_KIND, DocumentInput, DocumentResult
from common.failures import Refused
from common.jobs.job_spec import DAY_SECONDS, JobSpec
from common.jobs.work import Work
from common.kernel.worker_processes import TooDear
from common.storage.model_files import ModelMissing
from media.deps import Deps
from media.metrics import DOCUMENT_CHUNKS, DOCUMENT_SECONDS
from media.retrieval.document_text import DocumentUnfit
from media.retrieval.preparation import Preparation, Prepared, prepare
from media.retrieval_ports import Document, Encoder, Version, model_missing

DOCUMENT = JobSpec(
    kind=DOCUMENT_KIND,
    input=DocumentInput,
    result=DocumentResult,
    steps=("fetch", "read", "embed", "index"),
    summary="Take a document in, so that it is found.",
    concurrency=4,
    queue=100_000,
    share=50_000,
    # Whoever uploads a library waits for its end, not for each document.
    deadline_seconds=DAY_SECONDS,
)
READ_PERCENT = 10.0
EMBEDDED_PERCENT = 95.0
CHUNKS_AT_ONCE = 64

IntakeWork = Work[DocumentInput, Deps]


async def take_in(work: IntakeWork) -> DocumentResult:
    """Have a document searched. The same content again changes nothing. Raises Refused, and ProviderDown."""
    path = await work.folder() / "document"
    async with _step(work, "fetch"):
        await _fetch(work, path)
        # Hashing leaves the event loop alone: it holds no lock of the interpreter.
        sha256 = await asyncio.to_thread(digest, path)
    rows, wanted = work.deps.documents.rows, work.input
    there = await rows.get(work.job.org_id, wanted.document_id)
    if there is not None and there.sha256 == sha256 and wanted.content_type in (None, there.content_type):
        return result_of(await rows.touch(there, wanted), unchanged=True)
    async with _step(work, "read"):
        prepared = await _read(work, path)
    work.percent(READ_PERCENT)
    encoders = await work.deps.documents.encoders()
    async with _step(work, "embed"):
        vectors = {encoder.model: await _embedded(work, encoder, prepared) for encoder in encoders}
    async with _step(work, "index"):
        version = Version(
            org_id=work.job.org_id,
            wanted=wanted,
            content_type=prepared.content_type,
            sha256=sha256,
            characters=prepared.characters,
            job_id=work.job.id,
            asked_at=work.job.created_at,
            chunks=prepared.chunks,
            vectors=vectors,
        )
        # A document that is found is none of a job that was cancelled.
        with work.for_good():
            document = await rows.replace(version)
    DOCUMENT_CHUNKS.inc(len(prepared.chunks))
    return result_of(document)


def result_of(document: Document, *, unchanged: bool = False) -> DocumentResult:
    """What the job says of it."""
    return DocumentResult(
        document_id=document.id,
        version=document.version,
        chunks=document.chunks,
        characters=document.characters,
        content_type=document.content_type,
        unchanged=unchanged,
    )


def digest(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _fetch(work: IntakeWork, path: Path) -> None:
    wanted = work.input
    if wanted.text is not None:
        await asyncio.to_thread(path.write_text, wanted.text, encoding="utf-8")
    elif wanted.asset_id is not None:
        asset = await work.deps.assets.get(work.job.org_id, wanted.asset_id)
        if asset.size > work.deps.settings.max_document_bytes:
            raise _too_large(work.deps.settings.max_document_bytes)
        await work.deps.assets.copy_to_file(asset, path)
    elif wanted.url is not None:
        await work.deps.documents.downloads.fetch(wanted.url, path)
    else:
        raise Refused(400, "A document has a text, an asset or a URL.", "missing_required_parameter", "text")


def _too_large(most: int) -> Refused:
    return Refused(413, f"A document has at most {most} bytes.", "document_too_large")


async def _read(work: IntakeWork, path: Path) -> Prepared:
    """The chunks; what is wrong with the file is said to whoever sent it."""
    documents, wanted = work.deps.documents, work.input
    preparation = Preparation(
        path=path,
        content_type=wanted.content_type,
        scope=f"{work.job.org_id}/{wanted.project_id}",
        models=documents.models,
        model=documents.tokenizer,
        bounds=documents.bounds,
    )
    try:
        return await work.cpu(prepare, preparation)
    except DocumentUnfit as unfit:
        raise Refused(422, unfit.message, unfit.code) from None
    except ModelMissing as error:
        raise model_missing(str(error)) from None
    except TooDear as error:
        raise Refused(422, f"This document cannot be read: {error}.", "document_too_dear") from None


async def _embedded(work: IntakeWork, encoder: Encoder, prepared: Prepared) -> list[str]:
    """The vectors of all chunks, some at a time: similar lengths together, in the order of the chunks again."""
    texts = [each.chunk.searched for each in prepared.chunks]
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    vectors = [""] * len(texts)
    for at in range(0, len(order), CHUNKS_AT_ONCE):
        places = order[at : at + CHUNKS_AT_ONCE]
        for place, vector in zip(places, await encoder.embed(work.job.id, [texts[p] for p in places]), strict=True):
            vectors[place] = vector
        share = (at + len(places)) / len(texts)
        work.percent(READ_PERCENT + share * (EMBEDDED_PERCENT - READ_PERCENT))
    return vectors


@asynccontextmanager
async def _step(work: IntakeWork, name: str) -> AsyncIterator[None]:
    """A step of the job, and how long it took."""
    since = time.perf_counter()
    async with work.step(name):
        yield
    DOCUMENT_SECONDS.labels(name).observe(time.perf_counter() - since)
