"""Terms: what holds for the interactions of an organisation, from its policy and prices, known for a moment."""

import time
from collections import OrderedDict
from typing import NamedTuple

import structlog
from pydantic import ValidationError

from common.events.telemetry_policy import TelemetryPolicy
from common.kernel.single_flight import SingleFlight
from common.secret_box import SecretBox, SecretError
from telemetry.interactions.item_rows import Terms
from telemetry.masking.masker import BrokenMasker, BrokenRuleError, Masker
from telemetry.ports import Policies
from telemetry.price_list import PriceList
from telemetry.settings import TelemetrySettings

log = structlog.get_logger(__name__)

KNOWN_ORGANIZATIONS = 2_000
PURPOSE = "masked name"
# What of a sealed text names it: the synthetic initialisation vector (RFC 5297), a keyed digest of the text.
NAME_BYTES = 16


class _Known(NamedTuple):
    terms: Terms
    until: float
    written: bytes | None


class TermsOf:
    """Looks the terms of organisations up, each once at a time. Nothing is masked by terms that cannot be read."""

    def __init__(self, policies: Policies, settings: TelemetrySettings, box: SecretBox) -> None:
        self._policies = policies
        self._settings = settings
        self._box = box
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lookups: SingleFlight[str, Terms] = SingleFlight("telemetry-terms")

    async def of(self, org_id: str) -> Terms:
        """The terms of an organisation; raises `Unavailable` while they cannot be looked up."""
        known = self._known.get(org_id)
        if known is not None and time.monotonic() < known.until:
            return known.terms
        return await self._lookups.run(org_id, lambda: self._look_up(org_id))

    async def as_stored(self, sealed: str, org_id: str) -> set[str]:
        """The names that a user or session is stored by, whose own name comes sealed.

        Beside the name that the rules of today make of it, it may be stored under its own. Raises `Unavailable`, and
        ValueError for what was not sealed here.
        """
        try:
            name = self._box.open_name(sealed, org_id)
        except SecretError as error:
            raise ValueError(str(error)) from None
        try:
            return {name, (await self.of(org_id)).identity(name)}
        except BrokenRuleError:
            return {name}

    def forget(self, org_id: str) -> None:
        """Its policy or prices have changed."""
        self._known.pop(org_id, None)

    async def _look_up(self, org_id: str) -> Terms:
        written = await self._policies.policy(org_id)
        prices = PriceList(await self._policies.prices(org_id))
        before = self._known.get(org_id)
        # To compile rules takes longer than everything else.
        masker = before.terms.masker if before is not None and before.written == written else None
        terms = self._terms(org_id, written, prices, masker)
        self._known[org_id] = _Known(terms, time.monotonic() + self._settings.telemetry_policy_seconds, written)
        self._known.move_to_end(org_id)
        if len(self._known) > KNOWN_ORGANIZATIONS:
            self._known.popitem(last=False)
        return terms

    def _terms(self, org_id: str, written: bytes | None, prices: PriceList, masker: Masker | None) -> Terms:
        try:
            policy = TelemetryPolicy() if written is None else TelemetryPolicy.model_validate_json(written)
            masker = masker or Masker(policy.masking)
        except ValidationError:
            log.error("policy cannot be read, interactions are parked", org_id=org_id)
            policy, masker = TelemetryPolicy(), BrokenMasker("the policy of the organisation cannot be read")
        except BrokenRuleError as broken:
            log.error("policy cannot be applied, interactions are parked", org_id=org_id, reason=str(broken))
            masker = BrokenMasker(str(broken))
        keep = {"prod": self._settings.telemetry_prod_days, "dev": self._settings.telemetry_dev_days}
        for mode in keep:
            keep[mode] = policy.of_mode(mode).retention_days or keep[mode]
        return Terms(policy, masker, prices, keep, lambda name: self._pseudonym(name, org_id))

    def _pseudonym(self, name: str, org_id: str) -> str:
        """The same for the same name, and nobody tells from it which name that was."""
        return f"masked-{self._box.seal_bytes(name.encode(), org_id, PURPOSE)[:NAME_BYTES].hex()}"
