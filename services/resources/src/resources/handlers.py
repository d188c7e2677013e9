"""What resources reacts to."""

from typing import Any

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
from common.events.spec import EventSpec
from common.kernel.handlers import Handler, Handlers, name_of, on
from resources import active, audits, catalogue, drafting, importing, issuing, reading, tool_status, transfer
from resources.answering import UseCase, answered
from resources.deps import Deps


# Questions and commands are answered; facts come without a caller and are handled bare.
def _answered(spec: EventSpec[Any], use_case: UseCase) -> Handler[Deps]:
    return Handler(spec, answered(use_case), name_of(use_case))


HANDLERS: Handlers[Deps] = (
    _answered(RESOURCE_CREATE_REQUESTED, catalogue.create),
    _answered(RESOURCE_VERSION_REQUESTED, catalogue.create_version),
    _answered(RESOURCE_EDIT_REQUESTED, catalogue.edit),
    _answered(RESOURCE_DELETE_REQUESTED, catalogue.delete),
    _answered(RESOURCE_LIST_REQUESTED, catalogue.list_latest),
    _answered(RESOURCE_VERSIONS_REQUESTED, catalogue.list_versions),
    _answered(RESOURCE_GET_REQUESTED, reading.get),
    _answered(ACTIVE_SWITCH_REQUESTED, active.on_switch),
    _answered(ACTIVE_TOOL_REQUESTED, active.on_tool),
    _answered(ACTIVE_ROLLBACK_REQUESTED, active.on_rollback),
    _answered(ACTIVE_ROLLOUT_REQUESTED, active.on_rollout),
    _answered(ACTIVE_CLEAR_REQUESTED, active.on_clear),
    _answered(ACTIVE_RESOLVE_REQUESTED, reading.resolve),
    _answered(ACTIVE_HISTORY_REQUESTED, reading.history),
    _answered(ACTIVE_DIFF_REQUESTED, reading.diff),
    _answered(ACTIVE_AT_REQUESTED, reading.at),
    _answered(TOOL_DRAFT_REQUESTED, drafting.draft),
    _answered(TOOL_STATUS_REQUESTED, tool_status.change),
    _answered(AUDIT_LIST_REQUESTED, audits.list_entries),
    _answered(HUME_TOKEN_REQUESTED, issuing.issue),
    _answered(RESOURCE_IMPORT_REQUESTED, importing.copy_page),
    _answered(PROJECT_EXPORT_REQUESTED, transfer.take_out),
    _answered(PROJECT_IMPORT_REQUESTED, transfer.put_in),
    on(ACTIVE_SWITCHED, reading.on_switched),
    on(RESOURCE_CHANGED, reading.on_changed),
)
