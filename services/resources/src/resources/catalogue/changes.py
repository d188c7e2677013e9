"""What every change of a resource leaves behind: its audit entry and its fact."""

from typing import Literal

from common.events.resource_terms import Kind
from common.events.resources import RESOURCE_CHANGED, ResourceChanged
from resources.ports import Item, Work

Action = Literal["created", "versioned", "renamed", "described", "deleted", "promoted", "disabled", "quarantined"]


async def changed(work: Work, action: Action, item: Item, *, before: Item | None) -> None:
    """The audit entry and the fact of a change after which `item` is there."""
    await _record(work, action, item.kind, item.id, item.version, before=before, after=item)


async def deleted(work: Work, kind: Kind, id: str, version: int | None = None, *, before: Item | None) -> None:
    """The audit entry and the fact of a deletion: of one version, or with `version` None of the resource."""
    await _record(work, "deleted", kind, id, version, before=before, after=None)


async def _record(
    work: Work, action: Action, kind: Kind, id: str, version: int | None, *, before: Item | None, after: Item | None
) -> None:
    target = f"{kind}:{id}" if version is None else f"{kind}:{id}:{version}"
    states = [None if state is None else state.body() for state in (before, after)]
    await work.audit(f"{kind}.{action}", target, before=states[0], after=states[1])
    fact = ResourceChanged(
        org_id=work.org_id, kind=kind, id=id, version=version, action=action, clock=work.clock, at=work.at
    )
    await work.publish(RESOURCE_CHANGED, fact)
