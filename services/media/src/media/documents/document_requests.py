"""What is asked about documents over the log: found, listed, changed, taken away."""

from common.events.documents import (
    DocumentDeleted,
    DocumentDeleteRequested,
    DocumentEditRequested,
    DocumentGetRequested,
    DocumentInfo,
    DocumentList,
    DocumentListRequested,
    DocumentsForgetRequested,
    DocumentsForgotten,
)
from common.events.envelope import Event
from common.events.reply import Reply
from common.failures import Refused
from media.deps import Deps
from media.retrieval_ports import Document, DocumentPage


async def get(event: Event[DocumentGetRequested], deps: Deps) -> Reply[DocumentInfo]:
    """200, or Refused 404."""
    asked = event.payload
    return Reply(_found(await deps.documents.rows.get(asked.org_id, asked.id), asked.id))


async def page(event: Event[DocumentListRequested], deps: Deps) -> Reply[DocumentList]:
    """200 with a page, newest first."""
    asked = event.payload
    wanted = DocumentPage(
        asked.org_id, asked.project_id, asked.collection, asked.user_id, limit=asked.limit + 1, after=asked.after
    )
    found = await deps.documents.rows.page(wanted)
    shown = tuple(document_info(document) for document in found[: asked.limit])
    return Reply(DocumentList(object="list", data=shown, has_more=len(found) > asked.limit))


async def edit(event: Event[DocumentEditRequested], deps: Deps) -> Reply[DocumentInfo]:
    """200, or Refused 404."""
    asked = event.payload
    return Reply(_found(await deps.documents.rows.edit(asked.org_id, asked.id, asked.metadata), asked.id))


async def delete(event: Event[DocumentDeleteRequested], deps: Deps) -> Reply[DocumentDeleted]:
    """200, or Refused 404."""
    asked = event.payload
    if not await deps.documents.rows.remove(asked.org_id, asked.id):
        raise no_document(asked.id)
    return Reply(DocumentDeleted(id=asked.id, object="document", deleted=True))


async def forget(event: Event[DocumentsForgetRequested], deps: Deps) -> Reply[DocumentsForgotten]:
    """200, whether there was anything or not."""
    asked, rows = event.payload, deps.documents.rows
    if asked.session_id is not None:
        gone = await rows.forget_said(asked.org_id, asked.session_id, asked.turn_id, asked.at)
    else:
        gone = await rows.forget(asked.org_id, asked.user_id, asked.at)
    return Reply(DocumentsForgotten(deleted=gone))


def document_info(document: Document) -> DocumentInfo:
    """A document as callers see it."""
    return DocumentInfo(
        id=document.id,
        object="document",
        project_id=document.project_id,
        collection=document.collection,
        user_id=document.user_id,
        name=document.name,
        content_type=document.content_type,
        asset_id=document.asset_id,
        url=document.url,
        version=document.version,
        chunks=document.chunks,
        characters=document.characters,
        sha256=document.sha256,
        metadata=dict(document.metadata),
        created_at=document.created_at.timestamp(),
        updated_at=document.updated_at.timestamp(),
    )


def no_document(document_id: str) -> Refused:
    """404: there is no such document, or it is somebody else's."""
    return Refused(404, f"There is no document {document_id!r}.", "document_not_found", "id")


def _found(document: Document | None, document_id: str) -> DocumentInfo:
    if document is None:
        raise no_document(document_id)
    return document_info(document)
