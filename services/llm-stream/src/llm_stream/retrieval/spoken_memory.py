"""What users say, kept for later sessions: each turn is a document of the user, in a collection of its own."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

from common.events.chat import ChatReplyEnded
from common.events.documents import (
    DOCUMENT_KIND,
    DOCUMENTS_FORGET_REQUESTED,
    MAX_DOCUMENT_NAME,
    MEMORY,
    SAID_AT,
    SESSION,
    TURN,
    DocumentInput,
    DocumentsForgetRequested,
    document_id,
)
from common.events.envelope import Event
from common.events.media import MEDIA_JOB_REQUESTED, JobRequested
from common.events.record import Record
from common.events.resource_terms import DEFAULT_PROJECT
from llm_stream.retrieval.search_question import said_by_user, stands_alone

# The words of a turn. Somebody who reads a book aloud is not remembered to the last page.
MAX_CHARACTERS = 4_000


def to_remember(end: ChatReplyEnded) -> Record | None:
    """The job that keeps what a user said in a turn; None where that is nothing that could be looked up."""
    if end.user_id is None or end.kept is None or end.kept.mode != "full":
        return None
    text = said_by_user(end.kept.messages)[:MAX_CHARACTERS]
    if not stands_alone(text):
        return None
    day = time.strftime("%Y-%m-%d", time.gmtime(end.received_at))
    project = end.kept.project_id or DEFAULT_PROJECT
    name = f"{end.session_id}/{end.request_id}"[-MAX_DOCUMENT_NAME:]
    wanted = DocumentInput(
        document_id=document_id(end.org_id, project, MEMORY, end.user_id, name),
        project_id=project,
        collection=MEMORY,
        user_id=end.user_id,
        name=name,
        text=f"The user said on {day}: {text}",
        content_type="text/plain",
        metadata={SESSION: end.session_id, TURN: end.request_id, SAID_AT: end.received_at},
    )
    return _job(end, wanted.model_dump(mode="json", exclude_none=True)).record()


def to_forget(org_id: str, session_id: str, turn_id: str | None, at: float) -> Record:
    """The command that takes away what was said in a session, or in one turn of it, up to `at` (unix seconds)."""
    wanted = DocumentsForgetRequested(org_id=org_id, user_id="", session_id=session_id, turn_id=turn_id, at=at)
    return Event(DOCUMENTS_FORGET_REQUESTED, wanted).record()


def _job(end: ChatReplyEnded, wanted: Mapping[str, Any]) -> Event[JobRequested]:
    # Made of the turn's id: a turn that is told twice is remembered once.
    job_id = f"job_{_hexadecimal(end.request_id)}"
    requested = JobRequested(
        org_id=end.org_id,
        key_id=end.key_id,
        user_id=end.user_id or "",
        job_id=job_id,
        kind=DOCUMENT_KIND,
        requested_at=time.time(),
        input=dict(wanted),
    )
    return Event(MEDIA_JOB_REQUESTED, requested, id=job_id)


def _hexadecimal(request_id: str) -> str:
    """32 digits that stand for a turn."""
    return uuid.uuid5(uuid.NAMESPACE_URL, request_id).hex
