"""How far a job is, for whoever watches it: one small entry of the live store, which may be lost at any time."""

from dataclasses import asdict, dataclass

import orjson

KEY_PREFIX = "sonant:job:"
# Of queues that have no room: of a kind, and of one organisation.
FULL_PREFIX = "sonant:jobs-full:"
# A worker that says nothing more is not believed for longer; whoever watches then asks the database.
KEEP_SECONDS = 60
FULL_SECONDS = 4


@dataclass(frozen=True, slots=True)
class Glance:
    """A job at one moment: its newest milestone by number, its state and step, and how many percent are done."""

    milestone: int
    state: str
    step: str | None
    percent: float

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))


def read_glance(data: bytes | None) -> Glance | None:
    """What is known; None for nothing, or nothing that we wrote."""
    if data is None:
        return None
    try:
        return Glance(**orjson.loads(data))
    except (orjson.JSONDecodeError, TypeError):
        return None


def full_keys(kind: str, org_id: str) -> tuple[str, str]:
    """The entries that say that no more jobs are taken, of a kind and of an organisation."""
    return f"{FULL_PREFIX}{kind}", f"{FULL_PREFIX}{kind}:{org_id}"
