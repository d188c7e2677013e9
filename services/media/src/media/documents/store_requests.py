"""What is asked about vector stores over the log: made, changed, found, listed, taken away; and the files in them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from common.events.documents import DOCUMENT_KIND
from common.events.envelope import Event
from common.events.reply import Reply
from common.events.vector_stores import (
    FileStatus,
    PageRequest,
    StoreDeleted,
    StoreDeleteRequested,
    StoreFile,
    StoreFileCounts,
    StoreFileDeleted,
    StoreFileDeleteRequested,
    StoreFileError,
    StoreFileGetRequested,
    StoreFileList,
    StoreFileListRequested,
    StoreGetRequested,
    StoreListRequested,
    StorePutRequested,
    VectorStore,
    VectorStoreList,
)
from common.failures import Refused
from media.deps import Deps
from media.retrieval.chunking import CHUNK_TOKENS, OVERLAP_TOKENS
from media.retrieval_ports import Document, ListedFile, Store, StoreChange, StoreFilePage, StorePage, no_store

STATUS: Mapping[str, FileStatus] = {
    "queued": "in_progress",
    "running": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
UNSUPPORTED = frozenset({"document_type"})
AT_ONCE = 100
# They are ended in one transaction, each with its fact.
JOBS_AT_ONCE = 1_000


async def put(event: Event[StorePutRequested], deps: Deps) -> Reply[VectorStore]:
    """200 with the store, or Refused 404 where it is to be changed and is not there."""
    asked = event.payload
    change = StoreChange(asked.org_id, asked.id, asked.create, asked.name, asked.metadata)
    return Reply(store_shown(await deps.documents.stores.put(change), asked.id))


async def get(event: Event[StoreGetRequested], deps: Deps) -> Reply[VectorStore]:
    """200, or Refused 404."""
    asked = event.payload
    return Reply(store_shown(await deps.documents.stores.get(asked.org_id, asked.id), asked.id))


async def page(event: Event[StoreListRequested], deps: Deps) -> Reply[VectorStoreList]:
    """200 with a page."""
    asked = event.payload
    wanted = StorePage(org_id=asked.org_id, **page_asked(asked))
    found, more = await deps.documents.stores.page(wanted)
    shown = tuple(store_shown(store, store.id) for store in found)
    return Reply(VectorStoreList(object="list", data=shown, **page_ends(shown, more)))


async def delete(event: Event[StoreDeleteRequested], deps: Deps) -> Reply[StoreDeleted]:
    """200, or Refused 404. Its jobs and documents go first, so that a repetition finds what is left of them."""
    asked, stores = event.payload, deps.documents.stores
    store_shown(await stores.get(asked.org_id, asked.id), asked.id)
    gone = False
    # A job that runs may put its document in before it ends: then there is one more to take away.
    while not gone:
        await _empty(asked, deps)
        gone = await stores.remove(asked.org_id, asked.id)
    return Reply(StoreDeleted(id=asked.id, object="vector_store.deleted", deleted=True))


async def _empty(asked: StoreDeleteRequested, deps: Deps) -> None:
    """End the jobs of a store, and take its documents away."""
    stores, rows = deps.documents.stores, deps.documents.rows
    while jobs := await stores.jobs(asked.org_id, asked.id, JOBS_AT_ONCE):
        await deps.desk.cancel_all(asked.org_id, DOCUMENT_KIND, jobs)
    while ids := await stores.documents(asked.org_id, asked.id, AT_ONCE):
        for id in ids:
            await rows.remove(asked.org_id, id)


async def get_file(event: Event[StoreFileGetRequested], deps: Deps) -> Reply[StoreFile]:
    """200, or Refused 404: a document, or the job that is to make one."""
    asked, documents = event.payload, deps.documents
    document = await documents.rows.get(asked.org_id, asked.document_id)
    if document is not None:
        return Reply(_file_of(document))
    job = await documents.stores.job_of(asked.org_id, asked.document_id)
    if job is None or job.state == "completed":
        raise _no_file()
    return Reply(shown_file(job, asked.id))


async def delete_file(event: Event[StoreFileDeleteRequested], deps: Deps) -> Reply[StoreFileDeleted]:
    """200, or Refused 404. Its jobs are ended; one that is about to put it in finds that it may not."""
    asked = event.payload
    jobs = await deps.documents.stores.strike(asked.org_id, asked.id, asked.document_id)
    if jobs is None:
        raise _no_file()
    if jobs:
        await deps.desk.cancel_all(asked.org_id, DOCUMENT_KIND, jobs)
    return Reply(StoreFileDeleted(id=asked.document_id, object="vector_store.file.deleted", deleted=True))


async def list_files(event: Event[StoreFileListRequested], deps: Deps) -> Reply[StoreFileList]:
    """200 with a page, or Refused 404."""
    asked, stores = event.payload, deps.documents.stores
    store_shown(await stores.get(asked.org_id, asked.id), asked.id)
    states = states_of(asked.status)
    wanted = StoreFilePage(org_id=asked.org_id, store_id=asked.id, states=states, **page_asked(asked))
    found, more = await stores.files(wanted)
    shown = tuple(shown_file(file, asked.id) for file in found)
    return Reply(StoreFileList(object="list", data=shown, **page_ends(shown, more)))


def _no_file() -> Refused:
    return Refused(404, "There is no such file in this vector store.", "file_not_found", "file_id")


def states_of(status: FileStatus | None) -> Sequence[str]:
    """The states of jobs whose files have this status; all of them without one."""
    return [state for state, of in STATUS.items() if status in (None, of)]


def page_asked(asked: PageRequest) -> dict[str, Any]:
    """Which part of a list is asked for, as a `ListPage` has it."""
    return {
        "ascending": asked.order == "asc",
        "after": asked.after,
        "before": asked.before,
        "limit": asked.limit,
    }


def page_ends(shown: tuple[Any, ...], more: bool) -> dict[str, Any]:
    """What stands beside a page: its first, its last, and whether there are more."""
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return {"first_id": first, "last_id": last, "has_more": more}


def store_shown(store: Store | None, store_id: str) -> VectorStore:
    """A store as callers see it; raises Refused 404 where there is none."""
    if store is None:
        raise no_store(store_id)
    counts = StoreFileCounts(
        in_progress=store.in_progress,
        completed=store.completed,
        failed=store.failed,
        cancelled=store.cancelled,
        total=store.in_progress + store.completed + store.failed + store.cancelled,
    )
    return VectorStore(
        id=store.id,
        object="vector_store",
        name=store.name,
        status="in_progress" if store.in_progress else "completed",
        file_counts=counts,
        usage_bytes=store.characters,
        created_at=int(store.created_at.timestamp()),
        last_active_at=int(store.used_at.timestamp()),
        metadata=dict(store.metadata),
    )


def shown_file(file: ListedFile, store_id: str) -> StoreFile:
    """A file in a store as callers see it."""
    return _store_file(
        file.asset_id,
        vector_store_id=store_id,
        status=STATUS[file.state],
        usage_bytes=file.characters,
        created_at=int(file.created_at.timestamp()),
        attributes=file.metadata,
        last_error=_file_error(file.error) if file.state == "failed" else None,
    )


def _store_file(asset_id: str | None, **fields: Any) -> StoreFile:
    static = {"max_chunk_size_tokens": CHUNK_TOKENS, "chunk_overlap_tokens": OVERLAP_TOKENS}
    return StoreFile(
        id=(asset_id or "").replace("ast_", "file-", 1),
        object="vector_store.file",
        chunking_strategy={"type": "static", "static": static},
        **fields,
    )


def _file_of(document: Document) -> StoreFile:
    return _store_file(
        document.asset_id,
        vector_store_id=document.collection,
        status="completed",
        usage_bytes=document.characters,
        created_at=int(document.created_at.timestamp()),
        attributes=document.metadata,
    )


def _file_error(error: Mapping[str, Any] | None) -> StoreFileError:
    """Why a job failed, as OpenAI has it of a file."""
    code = str((error or {}).get("code") or "")
    kind = (
        "unsupported_file"
        if code in UNSUPPORTED
        else "invalid_file"
        if code.startswith("document_")
        else "server_error"
    )
    message = str((error or {}).get("message") or "It could not be taken in.")
    return StoreFileError(
        code=cast("Literal['server_error', 'unsupported_file', 'invalid_file']", kind), message=message
    )
