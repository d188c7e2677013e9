"""What media reacts to."""

from typing import Any

from common.events.analyses import (
    ANALYSIS_DELETE_REQUESTED,
    ANALYSIS_GET_REQUESTED,
    ANALYSIS_LIST_REQUESTED,
    CLUSTER_LIST_REQUESTED,
    SIMILAR_ITEMS_REQUESTED,
)
from common.events.assets import (
    ASSET_DELETE_REQUESTED,
    ASSET_GET_REQUESTED,
    ASSET_LIST_REQUESTED,
    ASSET_RECORD_REQUESTED,
)
from common.events.documents import (
    DOCUMENT_DELETE_REQUESTED,
    DOCUMENT_EDIT_REQUESTED,
    DOCUMENT_GET_REQUESTED,
    DOCUMENT_LIST_REQUESTED,
    DOCUMENTS_FORGET_REQUESTED,
)
from common.events.envelope import Event
from common.events.file_batches import (
    FILE_BATCH_CANCEL_REQUESTED,
    FILE_BATCH_CREATE_REQUESTED,
    FILE_BATCH_FILES_REQUESTED,
    FILE_BATCH_GET_REQUESTED,
)
from common.events.media import (
    MEDIA_JOB_CANCEL_REQUESTED,
    MEDIA_JOB_CANCELLED,
    MEDIA_JOB_COMPLETED,
    MEDIA_JOB_FAILED,
    MEDIA_JOB_GET_REQUESTED,
    MEDIA_JOB_LIST_REQUESTED,
    MEDIA_JOB_REQUESTED,
    MEDIA_JOB_RETRY_REQUESTED,
    Job,
    JobCancelRequested,
    JobGetRequested,
    JobList,
    JobListRequested,
    JobRequested,
    JobRetryRequested,
)
from common.events.media_topics import MEDIA_COMMANDS
from common.events.providers import MEDIA_PROVIDERS_REQUESTED, ProviderList, ProvidersRequested
from common.events.reply import Reply
from common.events.search import SEARCH_REQUESTED
from common.events.songs import (
    SONG_DELETE_REQUESTED,
    SONG_GET_REQUESTED,
    SONG_LIST_REQUESTED,
    SONG_SEARCH_REQUESTED,
)
from common.events.speech import (
    SPEECH_FILE_REQUESTED,
    SPEECH_REQUESTED,
    SPEECH_VOICES_REQUESTED,
    SpeechFile,
    SpeechFileRequested,
    SpeechRequested,
    SpeechVoicesRequested,
    SpokenVoices,
)
from common.events.vector_stores import (
    STORE_DELETE_REQUESTED,
    STORE_FILE_DELETE_REQUESTED,
    STORE_FILE_GET_REQUESTED,
    STORE_FILE_LIST_REQUESTED,
    STORE_GET_REQUESTED,
    STORE_LIST_REQUESTED,
    STORE_PUT_REQUESTED,
)
from common.events.webhook_endpoints import (
    WEBHOOK_DELIVERY_GET_REQUESTED,
    WEBHOOK_DELIVERY_LIST_REQUESTED,
    WEBHOOK_ENDPOINT_CHANGE_REQUESTED,
    WEBHOOK_ENDPOINT_CREATE_REQUESTED,
    WEBHOOK_ENDPOINT_DELETE_REQUESTED,
    WEBHOOK_ENDPOINT_GET_REQUESTED,
    WEBHOOK_ENDPOINT_LIST_REQUESTED,
    WEBHOOK_KEYS_REQUESTED,
    WEBHOOK_RECOVER_REQUESTED,
    WEBHOOK_REDELIVER_REQUESTED,
    WEBHOOK_SECRET_ROTATE_REQUESTED,
    WEBHOOK_TEST_REQUESTED,
)
from common.failures import Refused
from common.kernel.answers import Answers
from common.kernel.handlers import Handlers, answer, on
from common.providers.provider_health import health_of
from common.storage.unit_of_work import Answer
from media.assets import asset_requests
from media.content import analysis_requests
from media.deps import Deps
from media.documents import document_requests, file_batch_requests, store_requests
from media.metrics import MEDIA_REFUSALS
from media.search import search_requests
from media.songs import song_requests
from media.speech import answering
from media.webhooks import deliveries, endpoints


async def on_providers_requested(event: Event[ProvidersRequested], deps: Deps) -> Reply[ProviderList]:
    return Reply(health_of(deps.providers, "media", event.payload.org_id))


async def on_job_requested(event: Event[JobRequested], deps: Deps) -> None:
    await deps.desk.accept(event.payload)


async def on_job_get(event: Event[JobGetRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.get(event.payload)


async def on_job_list(event: Event[JobListRequested], deps: Deps) -> Reply[JobList]:
    return await deps.desk.page(event.payload)


async def on_job_cancel(event: Event[JobCancelRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.cancel(event.payload)


async def on_job_retry(event: Event[JobRetryRequested], deps: Deps) -> Reply[Job]:
    return await deps.desk.retry(event)


async def on_speech_requested(event: Event[SpeechRequested], deps: Deps) -> None:
    await answering.stream(event, deps.speech)


async def on_no_place(event: Event[SpeechRequested], deps: Deps) -> None:
    await answering.stream(event, deps.speech, refused=answering.BUSY)


async def on_speech_file_requested(event: Event[SpeechFileRequested], deps: Deps) -> Reply[SpeechFile]:
    return await deps.speech_files.answer(event)


async def on_speech_voices_requested(event: Event[SpeechVoicesRequested], deps: Deps) -> Reply[SpokenVoices]:
    return Reply(await deps.speech.voices.listed(event.payload.org_id, deps.speech.providers))


async def _done(deps: Deps, event: Event[Any]) -> Answer | None:
    """What a command about webhooks was answered with; those about jobs say the same again when they are repeated."""
    return await deps.webhooks.units.answer_to(event)


ANSWERS: Answers[Deps] = Answers(
    refusals=MEDIA_REFUSALS,
    unavailable=Refused(
        503,
        "Media cannot be reached at the moment.",
        "database_unavailable",
        type="server_error",
        headers={"retry-after": "1"},
    ),
    commands=MEDIA_COMMANDS,
    done=_done,
)

HANDLERS: Handlers[Deps] = ANSWERS.of(
    (
        on(MEDIA_JOB_REQUESTED, on_job_requested),
        answer(MEDIA_JOB_GET_REQUESTED, on_job_get),
        answer(MEDIA_JOB_LIST_REQUESTED, on_job_list),
        answer(MEDIA_JOB_CANCEL_REQUESTED, on_job_cancel),
        answer(MEDIA_JOB_RETRY_REQUESTED, on_job_retry),
        on(SPEECH_REQUESTED, on_speech_requested, full=on_no_place),
        answer(SPEECH_FILE_REQUESTED, on_speech_file_requested),
        answer(SPEECH_VOICES_REQUESTED, on_speech_voices_requested),
        answer(ASSET_RECORD_REQUESTED, asset_requests.record),
        answer(ASSET_DELETE_REQUESTED, asset_requests.delete),
        answer(ASSET_GET_REQUESTED, asset_requests.get),
        answer(ASSET_LIST_REQUESTED, asset_requests.list_assets),
        answer(SONG_SEARCH_REQUESTED, song_requests.search),
        answer(SONG_GET_REQUESTED, song_requests.get),
        answer(SONG_LIST_REQUESTED, song_requests.list_songs),
        answer(SONG_DELETE_REQUESTED, song_requests.delete),
        answer(ANALYSIS_GET_REQUESTED, analysis_requests.get),
        answer(ANALYSIS_LIST_REQUESTED, analysis_requests.page),
        answer(ANALYSIS_DELETE_REQUESTED, analysis_requests.delete),
        answer(SIMILAR_ITEMS_REQUESTED, analysis_requests.similar),
        answer(CLUSTER_LIST_REQUESTED, analysis_requests.clusters),
        answer(DOCUMENT_GET_REQUESTED, document_requests.get),
        answer(DOCUMENT_LIST_REQUESTED, document_requests.page),
        answer(DOCUMENT_DELETE_REQUESTED, document_requests.delete),
        answer(DOCUMENT_EDIT_REQUESTED, document_requests.edit),
        answer(DOCUMENTS_FORGET_REQUESTED, document_requests.forget),
        answer(STORE_PUT_REQUESTED, store_requests.put),
        answer(STORE_DELETE_REQUESTED, store_requests.delete),
        answer(STORE_GET_REQUESTED, store_requests.get),
        answer(STORE_LIST_REQUESTED, store_requests.page),
        answer(STORE_FILE_GET_REQUESTED, store_requests.get_file),
        answer(STORE_FILE_DELETE_REQUESTED, store_requests.delete_file),
        answer(STORE_FILE_LIST_REQUESTED, store_requests.list_files),
        answer(FILE_BATCH_CREATE_REQUESTED, file_batch_requests.create),
        answer(FILE_BATCH_CANCEL_REQUESTED, file_batch_requests.cancel),
        answer(FILE_BATCH_GET_REQUESTED, file_batch_requests.get),
        answer(FILE_BATCH_FILES_REQUESTED, file_batch_requests.list_files),
        answer(SEARCH_REQUESTED, search_requests.search),
        answer(MEDIA_PROVIDERS_REQUESTED, on_providers_requested),
        answer(WEBHOOK_ENDPOINT_CREATE_REQUESTED, endpoints.create),
        answer(WEBHOOK_ENDPOINT_CHANGE_REQUESTED, endpoints.change),
        answer(WEBHOOK_ENDPOINT_DELETE_REQUESTED, endpoints.delete),
        answer(WEBHOOK_ENDPOINT_GET_REQUESTED, endpoints.get),
        answer(WEBHOOK_ENDPOINT_LIST_REQUESTED, endpoints.list_all),
        answer(WEBHOOK_SECRET_ROTATE_REQUESTED, endpoints.rotate),
        answer(WEBHOOK_KEYS_REQUESTED, endpoints.keys),
        answer(WEBHOOK_TEST_REQUESTED, deliveries.send_test),
        answer(WEBHOOK_REDELIVER_REQUESTED, deliveries.redeliver),
        answer(WEBHOOK_RECOVER_REQUESTED, deliveries.recover),
        answer(WEBHOOK_DELIVERY_GET_REQUESTED, deliveries.get),
        answer(WEBHOOK_DELIVERY_LIST_REQUESTED, deliveries.page),
        on(MEDIA_JOB_COMPLETED, deliveries.on_job_ended),
        on(MEDIA_JOB_FAILED, deliveries.on_job_ended),
        on(MEDIA_JOB_CANCELLED, deliveries.on_job_ended),
    )
)
