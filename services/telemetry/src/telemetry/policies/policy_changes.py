"""Policies and prices: told, and replaced after they were checked."""

import time
from typing import Any, TypeAlias

import structlog
from pydantic import ValidationError

from common.events.envelope import Event
from common.events.interaction_queries import (
    PolicyChangeRequested,
    PolicyRequested,
    PolicyState,
    PriceChangeRequested,
    PriceListRequested,
    PriceRow,
    PriceRows,
)
from common.events.reply import Reply
from common.events.telemetry_policy import TelemetryPolicy
from common.failures import Refused, Unavailable
from common.storage.unit_of_work import UnitsOfWork
from telemetry.interactions.session_reading import away
from telemetry.interactions.terms import TermsOf
from telemetry.masking.masker import BrokenRuleError, compiled
from telemetry.ports import Policies, PolicyWrites

log = structlog.get_logger(__name__)

MAX_PRICES = 2_000

Changes: TypeAlias = UnitsOfWork[PolicyWrites]


async def show_policy(query: PolicyRequested, policies: Policies) -> Reply[PolicyState]:
    """200, with what holds by itself where there is none. Refuses 503 while the store is away."""
    try:
        state = await policies.state(query.org_id)
    except Unavailable:
        raise away() from None
    return Reply(state or PolicyState(revision=0, policy=TelemetryPolicy(), changed_at=None, changed_by=None))


async def change_policy(event: Event[PolicyChangeRequested], changes: Changes, terms: TermsOf) -> Reply[PolicyState]:
    """200, with an entry in the audit trail.

    Refuses 400 for a pattern that cannot be applied, 409 where the revision is another. Raises Repeated, and
    StoreUnavailableError.
    """
    asked = event.payload
    try:
        policy = TelemetryPolicy.model_validate(asked.policy)
    except ValidationError:
        raise Refused(400, "This is no policy.", "invalid_value", "policy") from None
    for number, own in enumerate(policy.masking.patterns):
        _check_pattern(own.pattern, own.name, f"masking.patterns.{number}.pattern")
    names = [own.name for own in policy.masking.patterns]
    if len(names) != len(set(names)):
        raise Refused(400, "Two patterns have the same name.", "invalid_value", "masking.patterns")
    async with changes.begin(event) as work:
        before = await work.tables.state()
        state = await work.tables.change(policy, asked.revision)
        if state is None:
            raise Refused(409, "The policy was changed meanwhile: read it again.", "revision_mismatch", "revision")
        await work.audit("telemetry_policy.changed", "telemetry_policy", before=_audited(before), after=_audited(state))
        reply = await work.answer(Reply(state))
    terms.forget(asked.org_id)
    log.info("telemetry policy changed", org_id=asked.org_id, key_id=asked.key_id, revision=state.revision)
    return reply


def _audited(state: PolicyState | None) -> dict[str, Any] | None:
    """What holds: masking rules, retention and sampling."""
    return None if state is None else state.policy.model_dump(mode="json")


def _check_pattern(pattern: str, name: str, param: str) -> None:
    try:
        matcher = compiled(pattern, name)
    except BrokenRuleError as broken:
        raise Refused(400, f"Invalid '{param}': {broken}.", "invalid_pattern", param) from None
    if matcher.search("") is not None:
        raise Refused(400, f"Invalid '{param}': it finds something in an empty text.", "invalid_pattern", param)


async def list_prices(query: PriceListRequested, policies: Policies) -> Reply[PriceRows]:
    """200. Refuses 503 while the store is away."""
    try:
        prices = await policies.prices(query.org_id)
    except Unavailable:
        raise away() from None
    return Reply(PriceRows(object="list", data=tuple(PriceRow(**price._asdict()) for price in prices)))


async def change_price(event: Event[PriceChangeRequested], changes: Changes, terms: TermsOf) -> Reply[PriceRow]:
    """200, with an entry in the audit trail. Refuses 409 where there are `MAX_PRICES`; raises as `change_policy`."""
    asked = event.payload
    price = PriceRow(**asked.model_dump(exclude={"org_id", "key_id", "user_id"}))
    async with changes.begin(event) as work:
        before = await work.tables.price(price.model, price.valid_from)
        if not await work.tables.set_price(price, MAX_PRICES):
            raise Refused(409, f"There are {MAX_PRICES} prices already.", "too_many_prices")
        was = None if before is None else before._asdict()
        await work.audit("telemetry_price.set", f"telemetry_price:{price.model}", before=was, after=price.model_dump())
        reply = await work.answer(Reply(price))
    terms.forget(asked.org_id)
    log.info("price changed", org_id=asked.org_id, key_id=asked.key_id, model=asked.model, at=time.time())
    return reply
