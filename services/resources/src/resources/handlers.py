"""What resources reacts to."""

from typing import Any

from common.events.resources import (
    ACTIVE_AT,
    ACTIVE_CLEAR,
    ACTIVE_DIFF,
    ACTIVE_HISTORY,
    ACTIVE_RESOLVE,
    ACTIVE_ROLLBACK,
    ACTIVE_ROLLOUT,
    ACTIVE_SWITCH,
    ACTIVE_SWITCHED,
    ACTIVE_TOOL,
    AUDIT_LIST,
    HUME_TOKEN,
    PROJECT_EXPORT,
    PROJECT_IMPORT,
    RESOURCE_CHANGED,
    RESOURCE_CREATE,
    RESOURCE_DELETE,
    RESOURCE_EDIT,
    RESOURCE_GET,
    RESOURCE_IMPORT,
    RESOURCE_LIST,
    RESOURCE_VERSION,
    RESOURCE_VERSIONS,
    TOOL_DRAFT,
    TOOL_STATUS,
)
from common.events.spec import EventSpec
from common.kernel.consumer import Handler
from resources import active, audits, catalogue, drafting, importing, issuing, reading, tool_status, transfer
from resources.answering import answered
from resources.deps import Deps

# Questions and commands are answered; facts come without a caller and are handled bare.
HANDLERS: dict[EventSpec[Any], Handler[Deps]] = {
    RESOURCE_CREATE: answered(catalogue.create),
    RESOURCE_VERSION: answered(catalogue.create_version),
    RESOURCE_EDIT: answered(catalogue.edit),
    RESOURCE_DELETE: answered(catalogue.delete),
    RESOURCE_LIST: answered(catalogue.list_latest),
    RESOURCE_VERSIONS: answered(catalogue.list_versions),
    RESOURCE_GET: answered(reading.get),
    ACTIVE_SWITCH: answered(active.on_switch),
    ACTIVE_TOOL: answered(active.on_tool),
    ACTIVE_ROLLBACK: answered(active.on_rollback),
    ACTIVE_ROLLOUT: answered(active.on_rollout),
    ACTIVE_CLEAR: answered(active.on_clear),
    ACTIVE_RESOLVE: answered(reading.resolve),
    ACTIVE_HISTORY: answered(reading.history),
    ACTIVE_DIFF: answered(reading.diff),
    ACTIVE_AT: answered(reading.at),
    TOOL_DRAFT: answered(drafting.draft),
    TOOL_STATUS: answered(tool_status.change),
    AUDIT_LIST: answered(audits.list_entries),
    HUME_TOKEN: answered(issuing.issue),
    RESOURCE_IMPORT: answered(importing.copy_page),
    PROJECT_EXPORT: answered(transfer.take_out),
    PROJECT_IMPORT: answered(transfer.put_in),
    ACTIVE_SWITCHED: reading.on_switched,
    RESOURCE_CHANGED: reading.on_changed,
}
