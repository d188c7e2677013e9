"""What is asked about batches of files over the log: put into a store, looked at, listed, ended."""

import uuid
from datetime import UTC, datetime

from common.events.documents import DOCUMENT_KIND, DocumentInput, document_id
from common.events.envelope import Event
from common.events.file_batches import (
    FileBatch,
    FileBatchCancelRequested,
    FileBatchCreateRequested,
    FileBatchFilesRequested,
    FileBatchGetRequested,
    FileBatchRequest,
)
from common.events.media import JobRequested
from common.events.reply import Reply
from common.events.resource_terms import DEFAULT_PROJECT
from common.events.vector_stores import FileStatus, StoreFileCounts, StoreFileList
from common.failures import Refused
from media.deps import Deps
from media.documents.store_requests import page_asked, page_ends, shown_file, states_of, store_shown
from media.retrieval_ports import Batch, BatchPage, NewBatch

# Names the ids of batches and of their jobs: a command that comes again makes the same ones.
BATCHES = uuid.UUID("afc92c69-1bd7-4eeb-81ea-9580a1929d6a")


async def create(event: Event[FileBatchCreateRequested], deps: Deps) -> Reply[FileBatch]:
    """200 with the batch, whose jobs are accepted. Raises Refused 404 where the store or a file is not there."""
    asked, batches = event.payload, deps.documents.batches
    batch_id = f"vsfb_{_named(event, '')}"
    if await batches.get(asked.org_id, asked.id, batch_id) is None:
        store_shown(await deps.documents.stores.get(asked.org_id, asked.id), asked.id)
        await _all_there(asked, deps)
        jobs = _jobs(event)
        # The jobs first: whoever dies in between does both again, and no batch waits for jobs that are not there.
        await deps.desk.accept_all(DOCUMENT_KIND, list(jobs.values()))
        new = NewBatch(
            org_id=asked.org_id,
            store_id=asked.id,
            id=batch_id,
            jobs={asset_id: job.job_id for asset_id, job in jobs.items()},
            created_at=datetime.fromtimestamp(event.time, UTC),
        )
        await batches.add(new)
    return Reply(_shown(await batches.get(asked.org_id, asked.id, batch_id)))


async def get(event: Event[FileBatchGetRequested], deps: Deps) -> Reply[FileBatch]:
    """200, or Refused 404."""
    return Reply(await _found(event.payload, deps))


async def cancel(event: Event[FileBatchCancelRequested], deps: Deps) -> Reply[FileBatch]:
    """200 with the batch, of which something may still end; or Refused 404."""
    asked = event.payload
    await _found(asked, deps)
    jobs = await deps.documents.batches.jobs(asked.org_id, asked.batch_id)
    await deps.desk.cancel_all(asked.org_id, DOCUMENT_KIND, jobs)
    return Reply(await _found(asked, deps))


async def list_files(event: Event[FileBatchFilesRequested], deps: Deps) -> Reply[StoreFileList]:
    """200 with a page, or Refused 404."""
    asked = event.payload
    await _found(asked, deps)
    states = states_of(asked.status)
    wanted = BatchPage(org_id=asked.org_id, batch_id=asked.batch_id, states=states, **page_asked(asked))
    found, more = await deps.documents.batches.page(wanted)
    shown = tuple(shown_file(file, asked.id) for file in found)
    return Reply(StoreFileList(object="list", data=shown, **page_ends(shown, more)))


async def _all_there(asked: FileBatchCreateRequested, deps: Deps) -> None:
    """Raise Refused 404 for a file that is not there, or is somebody else's: a batch is taken as a whole or not."""
    owners = await deps.asset_rows.known([file.asset_id for file in asked.files])
    for file in asked.files:
        if owners.get(file.asset_id) != asked.org_id:
            raise Refused(404, f"There is no file {_file_id(file.asset_id)!r}.", "file_not_found", "file_id")


def _jobs(event: Event[FileBatchCreateRequested]) -> dict[str, JobRequested]:
    """The job of each asset, in the order of the files."""
    asked = event.payload
    jobs: dict[str, JobRequested] = {}
    for file in asked.files:
        given = DocumentInput(
            document_id=document_id(asked.org_id, DEFAULT_PROJECT, asked.id, "", file.asset_id),
            collection=asked.id,
            name=file.asset_id,
            asset_id=file.asset_id,
            metadata=asked.attributes if file.attributes is None else file.attributes,
        )
        jobs[file.asset_id] = JobRequested(
            org_id=asked.org_id,
            key_id=asked.key_id,
            user_id=asked.user_id,
            job_id=f"job_{_named(event, file.asset_id)}",
            kind=DOCUMENT_KIND,
            requested_at=event.time,
            input=given.model_dump(mode="json", exclude_none=True),
        )
    return jobs


def _named(event: Event[FileBatchCreateRequested], what: str) -> str:
    return uuid.uuid5(BATCHES, f"{event.payload.org_id}/{event.id}/{what}").hex


async def _found(asked: FileBatchRequest, deps: Deps) -> FileBatch:
    return _shown(await deps.documents.batches.get(asked.org_id, asked.id, asked.batch_id))


def _shown(batch: Batch | None) -> FileBatch:
    if batch is None:
        raise Refused(404, "There is no such batch in this vector store.", "file_batch_not_found", "batch_id")
    return FileBatch(
        id=batch.id,
        object="vector_store.files_batch",
        vector_store_id=batch.store_id,
        status=_status(batch),
        file_counts=StoreFileCounts(
            in_progress=batch.in_progress,
            completed=batch.completed,
            failed=batch.failed,
            cancelled=batch.cancelled,
            total=batch.total,
        ),
        created_at=int(batch.created_at.timestamp()),
    )


def _status(batch: Batch) -> FileStatus:
    if batch.in_progress:
        return "in_progress"
    if batch.cancelled:
        return "cancelled"
    return "failed" if batch.failed == batch.total else "completed"


def _file_id(asset_id: str) -> str:
    return asset_id.replace("ast_", "file-", 1)
