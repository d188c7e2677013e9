"""The routes of sessions, and of responses that are kept in them."""

from collections.abc import Sequence

from common.events.session_turns import SESSION_POLICY_REQUESTED, SESSION_REQUESTED
from gateway.chat import kept_session_views, sessions
from gateway.chat.accepted_request import GRACE_HEADER
from gateway.chat.completion_answer import ChatCompletionChunk
from gateway.chat.session_resume import SessionResumption, resume_session
from gateway.chat.stored_responses import DeletedResponse, delete_response
from gateway.http.routing import Route
from gateway.ports import Scope, Work

SESSION = "/v1/sessions/{session_id}"

SESSION_ROUTES: Sequence[Route] = [
    Route(
        "DELETE",
        "/v1/responses/{id}",
        delete_response,
        "Forget a response",
        scope=Scope.CHAT,
        work=Work.WRITE,
        response=DeletedResponse,
        errors=(404, 503, 504),
        tags=("responses",),
    ),
    Route(
        "GET",
        "/v1/sessions",
        kept_session_views.list_sessions,
        "List sessions, those last used first",
        scope=Scope.CHAT,
        work=Work.READ,
        query=kept_session_views.SessionsQuery,
        response=kept_session_views.SessionPage,
        errors=(503, 504),
        tags=("sessions",),
    ),
    Route(
        "GET",
        SESSION,
        kept_session_views.show_session,
        "Read a session: its turns, and what a next request would be asked with",
        name="get_session",
        scope=Scope.CHAT,
        work=Work.READ,
        response=SESSION_REQUESTED,
        errors=(400, 404, 503, 504),
        tags=("sessions",),
    ),
    Route(
        "DELETE",
        SESSION,
        kept_session_views.delete_session,
        "Forget a session",
        scope=Scope.CHAT,
        work=Work.WRITE,
        response=kept_session_views.DeletedSession,
        errors=(400, 503, 504),
        tags=("sessions",),
        description="What was received until now is gone, also what of it ends later. A session may begin anew.",
    ),
    Route(
        "POST",
        f"{SESSION}/interrupt",
        sessions.interrupt,
        "Stop what is being said in a session",
        name="interrupt_session",
        scope=Scope.CHAT,
        request=sessions.Interruption,
        response=sessions.Interrupted,
        errors=(404, 409, 413, 503, 504),
        tags=("chat",),
    ),
    Route(
        "POST",
        f"{SESSION}/spoken",
        kept_session_views.report_spoken,
        "Say how much of an answer the user has heard",
        scope=Scope.CHAT,
        work=Work.WRITE,
        request=kept_session_views.SpokenBody,
        response=kept_session_views.SpokenAnswer,
        errors=(404, 409, 413, 503, 504),
        tags=("sessions",),
    ),
    Route(
        "POST",
        f"{SESSION}/resume",
        resume_session,
        "Go on where the user stopped hearing the last answer",
        scope=Scope.CHAT,
        request=SessionResumption,
        headers={GRACE_HEADER: "Seconds the answer goes on after this connection dropped, to be resumed; 0 to 600."},
        errors=(404, 409, 413, 429, 502, 503, 504),
        streaming=True,
        events=ChatCompletionChunk,
        content_type="text/event-stream",
        limited=True,
        work=Work.ANSWER,
        tags=("sessions",),
    ),
    Route(
        "GET",
        "/v1/admin/session-policy",
        kept_session_views.get_policy,
        "For how many days sessions are kept",
        name="get_session_policy",
        scope=Scope.ADMIN,
        work=Work.READ,
        response=SESSION_POLICY_REQUESTED,
        errors=(503, 504),
        tags=("admin",),
    ),
    Route(
        "PUT",
        "/v1/admin/session-policy",
        kept_session_views.set_policy,
        "Set for how many days sessions are kept",
        name="set_session_policy",
        scope=Scope.ADMIN,
        work=Work.WRITE,
        request=kept_session_views.SessionPolicyBody,
        response=SESSION_POLICY_REQUESTED,
        errors=(413, 503, 504),
        tags=("admin",),
    ),
]
