"""What the live store keeps of an answer: who answers it, how it ended and, for a while, all its frames."""

from collections.abc import Sequence

from common.bus.live.frames import Frame, pack, unpack

# Who answers a turn and how it ended.
TURN_PREFIX = "sonant:turn:"
# All frames of an answer that has ended.
ENDED_PREFIX = "sonant:ended:"


def audience_of(org_id: str, *, stream: bool) -> str:
    """Who may resume an answer: of a stream its organisation, else only the request itself."""
    return org_id if stream else f"{org_id}/whole"


def pack_ended(frames: Sequence[Frame], audience: str) -> bytes:
    """A finished answer as the store keeps it."""
    return audience.encode() + b"\n" + pack(frames)


def unpack_ended(stored: bytes | None, audience: str) -> list[Frame] | None:
    """The frames of a finished answer, or None where there is none or it is not for this audience."""
    owner, _, frames = (stored or b"").partition(b"\n")
    return list(unpack(frames)) if stored and owner == audience.encode() else None
