"""What the live store keeps of an answer: who answers it, how it ended and, for a while, everything that was said."""

from collections.abc import Sequence

from common.bus.live.frames import Frame, pack, unpack

# Who answers a turn and how it ended.
TURN_PREFIX = "sonant:turn:"
# All frames of an answer that has ended.
ENDED_PREFIX = "sonant:ended:"


def audience_of(org_id: str, *, stream: bool) -> str:
    """Who may take an answer up: a stream its organisation, one that is not streamed only who asked for it."""
    return org_id if stream else f"{org_id}/whole"


def pack_ended(frames: Sequence[Frame], audience: str) -> bytes:
    """A finished answer as it is kept for reading again."""
    return audience.encode() + b"\n" + pack(frames)


def unpack_ended(stored: bytes | None, audience: str) -> list[Frame] | None:
    """The frames of a finished answer, or None where there is none or it is not for this audience."""
    owner, _, frames = (stored or b"").partition(b"\n")
    return list(unpack(frames)) if stored and owner == audience.encode() else None
