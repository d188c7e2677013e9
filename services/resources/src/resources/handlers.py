"""What resources reacts to."""

from typing import Any

from common.events.resources import (
    AUDIT_LIST,
    RESOURCE_CREATE,
    RESOURCE_DELETE,
    RESOURCE_EDIT,
    RESOURCE_GET,
    RESOURCE_LIST,
    RESOURCE_VERSION,
    RESOURCE_VERSIONS,
)
from common.events.spec import EventSpec
from common.kernel.consumer import Handler
from resources import audits, catalogue
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
    RESOURCE_GET: answered(catalogue.get),
    AUDIT_LIST: answered(audits.list_entries),
}
