"""What resources reacts to."""

from collections.abc import Mapping
from typing import Any

from common.events.envelope import Event
from common.events.providers import RESOURCE_PROVIDERS_REQUESTED
from common.events.resources import (
    ACTIVE_AT_REQUESTED,
    ACTIVE_CLEAR_REQUESTED,
    ACTIVE_DIFF_REQUESTED,
    ACTIVE_HISTORY_REQUESTED,
    ACTIVE_RESOLVE_REQUESTED,
    ACTIVE_ROLLBACK_REQUESTED,
    ACTIVE_ROLLOUT_REQUESTED,
    ACTIVE_SWITCH_REQUESTED,
    ACTIVE_SWITCHED,
    ACTIVE_TOOL_REQUESTED,
    AUDIT_LIST_REQUESTED,
    HUME_TOKEN_REQUESTED,
    PROJECT_EXPORT_REQUESTED,
    PROJECT_IMPORT_REQUESTED,
    RESOURCE_CHANGED,
    RESOURCE_COMMANDS,
    RESOURCE_CREATE_REQUESTED,
    RESOURCE_DELETE_REQUESTED,
    RESOURCE_EDIT_REQUESTED,
    RESOURCE_GET_REQUESTED,
    RESOURCE_IMPORT_REQUESTED,
    RESOURCE_LIST_REQUESTED,
    RESOURCE_VERSION_REQUESTED,
    RESOURCE_VERSIONS_REQUESTED,
    TOOL_DRAFT_REQUESTED,
    TOOL_STATUS_REQUESTED,
)
from common.failures import Refused
from common.kernel.answers import Answers
from common.kernel.handlers import Handlers, answer, on
from common.storage.unit_of_work import Answer
from resources import audit_trail
from resources.active import history, resolve, switch
from resources.catalogue import project_transfer, provider_import, versions
from resources.deps import Deps
from resources.drafting import draft, tool_status
from resources.hume import access_token, provider_list
from resources.metrics import RESOURCE_REFUSALS

# What a provider is called where a stand-in answers for it.
SANDBOX = "sandbox"


async def _done(deps: Deps, event: Event[Any]) -> Answer | None:
    return await deps.units.answer_to(event)


def _provider(deps: Deps, event: Event[Any]) -> Mapping[str, str]:
    """The mark of a sandbox that stands in for the provider which keeps the organisation's resources."""
    org_id = event.payload.org_id
    if org_id not in deps.catalogues.chosen or deps.provider_of(org_id).tokens.provider != SANDBOX:
        return {}
    return {"x-sonant-provider": SANDBOX}


ANSWERS: Answers[Deps] = Answers(
    refusals=RESOURCE_REFUSALS,
    unavailable=Refused(
        503,
        "Resources cannot be reached at the moment.",
        "database_unavailable",
        type="server_error",
        headers={"retry-after": "1"},
    ),
    commands=RESOURCE_COMMANDS,
    done=_done,
    headers=_provider,
)

HANDLERS: Handlers[Deps] = ANSWERS.of(
    (
        answer(RESOURCE_CREATE_REQUESTED, versions.create),
        answer(RESOURCE_VERSION_REQUESTED, versions.create_version),
        answer(RESOURCE_EDIT_REQUESTED, versions.edit),
        answer(RESOURCE_DELETE_REQUESTED, versions.delete),
        answer(RESOURCE_LIST_REQUESTED, versions.list_latest),
        answer(RESOURCE_VERSIONS_REQUESTED, versions.list_versions),
        answer(RESOURCE_GET_REQUESTED, versions.get),
        answer(ACTIVE_SWITCH_REQUESTED, switch.on_switch),
        answer(ACTIVE_TOOL_REQUESTED, switch.on_tool),
        answer(ACTIVE_ROLLBACK_REQUESTED, switch.on_rollback),
        answer(ACTIVE_ROLLOUT_REQUESTED, switch.on_rollout),
        answer(ACTIVE_CLEAR_REQUESTED, switch.on_clear),
        answer(ACTIVE_RESOLVE_REQUESTED, resolve.resolve),
        answer(ACTIVE_HISTORY_REQUESTED, history.history),
        answer(ACTIVE_DIFF_REQUESTED, history.diff),
        answer(ACTIVE_AT_REQUESTED, history.at),
        answer(TOOL_DRAFT_REQUESTED, draft.draft),
        answer(TOOL_STATUS_REQUESTED, tool_status.change),
        answer(AUDIT_LIST_REQUESTED, audit_trail.list_entries),
        answer(HUME_TOKEN_REQUESTED, access_token.issue),
        answer(RESOURCE_PROVIDERS_REQUESTED, provider_list.list_providers),
        answer(RESOURCE_IMPORT_REQUESTED, provider_import.copy_page),
        answer(PROJECT_EXPORT_REQUESTED, project_transfer.export_project),
        answer(PROJECT_IMPORT_REQUESTED, project_transfer.import_project),
        on(ACTIVE_SWITCHED, resolve.on_switched),
        on(RESOURCE_CHANGED, resolve.on_changed),
    )
)
