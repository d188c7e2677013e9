"""What the handlers of telemetry work with."""

from dataclasses import dataclass

from common.jobs.job_desk import JobDesk
from common.storage.objects import Objects
from common.storage.unit_of_work import UnitsOfWork
from telemetry.interactions.batch_opening import Openings
from telemetry.interactions.terms import TermsOf
from telemetry.kept_sessions import Owed
from telemetry.ports import (
    Exports,
    Interactions,
    InteractionSessions,
    LedgerBook,
    Policies,
    PolicyWrites,
    Retention,
    Sessions,
    Usage,
)
from telemetry.settings import TelemetrySettings


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything a use case may ask for."""

    settings: TelemetrySettings
    usage: Usage
    sessions: Sessions
    owed: Owed
    interactions: Interactions
    terms: TermsOf
    openings: Openings
    interaction_sessions: InteractionSessions
    ledger: LedgerBook
    policies: Policies
    changes: UnitsOfWork[PolicyWrites]
    retention: Retention
    exports: Exports
    objects: Objects
    desk: JobDesk
