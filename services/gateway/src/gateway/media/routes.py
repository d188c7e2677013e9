"""The routes of media: what makes jobs, and jobs themselves."""

from collections.abc import Sequence
from typing import Any

from pydantic import RootModel

from common.events.analyses import (
    ANALYSIS_DELETE_REQUESTED,
    ANALYSIS_GET_REQUESTED,
    ANALYSIS_LIST_REQUESTED,
    CLUSTER_LIST_REQUESTED,
    SIMILAR_ITEMS_REQUESTED,
)
from common.events.media import (
    MEDIA_JOB_CANCEL_REQUESTED,
    MEDIA_JOB_GET_REQUESTED,
    MEDIA_JOB_LIST_REQUESTED,
    MEDIA_JOB_RETRY_REQUESTED,
    Job,
)
from common.events.speech import SPEECH_VOICES_REQUESTED, SpeechFile
from gateway.http.end_user import USER_HEADER
from gateway.http.routing import Handler, Route
from gateway.media import analysis_views, job_stream, jobs
from gateway.media.creation_request import CreationBody, create_content
from gateway.media.expressions_request import ExpressionsBody, ExpressionsQuery, create_expressions
from gateway.media.job_stream import LAST_EVENT_HEADER
from gateway.media.process_request import ProcessBody, ProcessQuery, process_content
from gateway.media.speech_bodies import OpenAiSpeechBody, SpeechBody
from gateway.media.speech_views import create_speech, list_speech_voices, make_speech
from gateway.media.video_request import VideoBody, VideoModelList, create_video, list_video_models
from gateway.ports import Scope, Work

ACCEPTED = "Answered once the log has it: the job is done whatever crashes. The same key with another body is 409."
USER = {
    USER_HEADER: "The end user inside the organisation; noted with the job.",
    jobs.WEBHOOK_HEADER: "The id of a webhook endpoint that gets the end of this job, beside those that get all.",
}


class SpokenOrQueued(RootModel[SpeechFile | Job]):
    """The file of a short text, or the job that makes that of a long one."""


def makes_job(path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    """A route that answers with a job."""
    common = {
        "scope": Scope.MEDIA,
        "work": Work.WRITE,
        "response": Job,
        "status": 202,
        "idempotent": True,
        "errors": (404, 409, 429, 503, 504),
        "headers": USER,
        "sends": ("location",),
        "tags": ("media",),
        "description": ACCEPTED,
    }
    return Route("POST", path, handler, summary, **{**common, **fields})


def _job(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.MEDIA, "work": Work.READ, "errors": (404, 503, 504), "tags": ("jobs",)}
    return Route(method, f"/v1/jobs{path}", handler, summary, **{**common, **fields})


JOB_ROUTES: Sequence[Route] = [
    _job("GET", "", jobs.list_jobs, "List jobs", query=jobs.JobsQuery, response=MEDIA_JOB_LIST_REQUESTED),
    _job(
        "GET", "/{id}", jobs.read_job, "Read a job with its attempts", name="get_job", response=MEDIA_JOB_GET_REQUESTED
    ),
    _job(
        "GET",
        "/{id}/events",
        job_stream.watch_job,
        "Watch a job until it ends",
        streaming=True,
        events=job_stream.JobEvent,
        headers={LAST_EVENT_HEADER: "The id of the last event received; the stream goes on behind it."},
    ),
    _job(
        "POST",
        "/{id}/cancel",
        jobs.cancel_job,
        "End a job",
        work=Work.WRITE,
        idempotent=True,
        response=MEDIA_JOB_CANCEL_REQUESTED,
        also=(202,),
        description="200 where it has ended, 202 where it is about to. One that has ended stays as it is.",
    ),
    _job(
        "POST",
        "/{id}/retry",
        jobs.retry_job,
        "Begin a job anew that failed or was cancelled",
        work=Work.WRITE,
        idempotent=True,
        response=MEDIA_JOB_RETRY_REQUESTED,
        status=202,
        errors=(404, 409, 503, 504),
        description="What it paid for is not paid again.",
    ),
]
SPEECH_SENDS = ("x-sonant-cache", "x-sonant-provider", "x-sonant-voice-provider")
SPEECH_ROUTES: Sequence[Route] = [
    Route(
        "POST",
        "/v1/audio/speech",
        create_speech,
        "Speak a text as OpenAI does; the bytes come while they are made",
        scope=Scope.MEDIA,
        request=OpenAiSpeechBody,
        headers=USER,
        sends=SPEECH_SENDS,
        errors=(404, 413, 429, 502, 503, 504),
        streaming=True,
        content_type="*/*",
        work=Work.ANSWER,
        tags=("media",),
    ),
    Route(
        "POST",
        "/v1/media/speech",
        make_speech,
        "Speak a text into an asset",
        name="create_speech_file",
        scope=Scope.MEDIA,
        request=SpeechBody,
        response=SpokenOrQueued,
        also=(202,),
        headers=USER,
        sends=SPEECH_SENDS,
        errors=(404, 409, 413, 422, 429, 502, 503, 504),
        idempotent=True,
        work=Work.ANSWER,
        tags=("media",),
        description="A short text is answered with 200 and its asset. A long one, and any with `background`, is a job: "
        "202 with the job, whose result is the same.",
    ),
    Route(
        "GET",
        "/v1/media/voices",
        list_speech_voices,
        "List the voices that speak, and the types of content that choose among them",
        scope=Scope.MEDIA,
        response=SPEECH_VOICES_REQUESTED,
        errors=(503, 504),
        work=Work.READ,
        tags=("media",),
    ),
]


def _analysis(method: str, path: str, handler: Handler, summary: str, **fields: Any) -> Route:
    common = {"scope": Scope.MEDIA, "work": Work.READ, "errors": (404, 503, 504), "tags": ("analyses",)}
    return Route(method, f"/v1/media{path}", handler, summary, **{**common, **fields})


ANALYSIS_ROUTES: Sequence[Route] = [
    makes_job(
        "/v1/media/process",
        process_content,
        "Find shots, faces, looks and sound in a file, and what is alike",
        request=ProcessBody,
        query=ProcessQuery,
        work=Work.UPLOAD,
        takes=("application/octet-stream", "multipart/form-data"),
        errors=(404, 408, 409, 413, 415, 429, 503, 504),
        description=f"JSON that names an asset or a URL; or the file itself as the body or as the field `file` of a "
        f"form, and the rest in the query. {ACCEPTED}",
    ),
    _analysis(
        "GET",
        "/analyses",
        analysis_views.list_analyses,
        "List analyses, newest first",
        query=analysis_views.AnalysisListQuery,
        response=ANALYSIS_LIST_REQUESTED,
    ),
    _analysis(
        "GET",
        "/analyses/{id}",
        analysis_views.show_analysis,
        "Read an analysis",
        name="get_analysis",
        response=ANALYSIS_GET_REQUESTED,
    ),
    _analysis(
        "DELETE",
        "/analyses/{id}",
        analysis_views.delete_analysis,
        "Delete an analysis with its items and files",
        work=Work.WRITE,
        response=ANALYSIS_DELETE_REQUESTED,
        idempotent=True,
        errors=(404, 409, 503, 504),
    ),
    _analysis(
        "GET",
        "/similar",
        analysis_views.list_similar,
        "Find shots, images or faces that look like one of them",
        query=analysis_views.SimilarQuery,
        response=SIMILAR_ITEMS_REQUESTED,
    ),
    _analysis(
        "GET",
        "/clusters",
        analysis_views.list_clusters,
        "List what is alike in a project",
        query=analysis_views.ClusterQuery,
        response=CLUSTER_LIST_REQUESTED,
        errors=(503, 504),
    ),
]
ROUTES: Sequence[Route] = [
    makes_job(
        "/v1/media/content",
        create_content,
        "Make a film of a prompt, with narration and captions",
        request=CreationBody,
        description=f"{ACCEPTED} One that failed is resumed by `POST /v1/jobs/{{id}}/retry`: what was made is not made "
        "again.",
    ),
    makes_job("/v1/media/video", create_video, "Make a video", request=VideoBody),
    makes_job(
        "/v1/media/expressions",
        create_expressions,
        "Measure what faces and voices express",
        request=ExpressionsBody,
        query=ExpressionsQuery,
        work=Work.UPLOAD,
        takes=("application/octet-stream", "multipart/form-data"),
        errors=(404, 408, 409, 413, 415, 429, 503, 504),
        description=f"JSON that names an asset or a URL; or the file itself as the body or as the field `file` of a "
        f"form, and the rest in the query. {ACCEPTED}",
    ),
    Route(
        "GET",
        "/v1/media/video/models",
        list_video_models,
        "List the models that make videos, and what they take",
        scope=Scope.MEDIA,
        work=Work.READ,
        response=VideoModelList,
        tags=("media",),
    ),
    *ANALYSIS_ROUTES,
    *SPEECH_ROUTES,
    *JOB_ROUTES,
]
