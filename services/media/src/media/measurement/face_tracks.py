"""Which boxes of successive pictures are one face: those that overlap most, and were seen not long ago."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from media.measurement.series import Box

# Of two boxes of one face in successive pictures at least this much is common.
LEAST_OVERLAP = 0.2
# A face that was away for longer is another one as far as can be told.
AWAY_SECONDS = 3.0


@dataclass(slots=True)
class FaceTrack:
    """One face over time."""

    number: int
    seen: list[tuple[float, Box, float]] = field(default_factory=list)

    @property
    def last(self) -> tuple[float, Box, float]:
        return self.seen[-1]


def overlap(one: Box, other: Box) -> float:
    """What two boxes have in common, as a share of what they cover together."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    common = max(0.0, width) * max(0.0, height)
    covered = one.width * one.height + other.width * other.height - common
    return common / covered if covered > 0 else 0.0


def face_tracks(pictures: Sequence[tuple[float, Sequence[tuple[Box, float]]]]) -> list[FaceTrack]:
    """The faces, numbered as they first appear; pictures are seconds, and boxes with their confidence."""
    tracks: list[FaceTrack] = []
    for seconds, faces in pictures:
        recent = [track for track in tracks if seconds - track.last[0] <= AWAY_SECONDS]
        pairs = sorted(
            ((overlap(track.last[1], box), at, track) for track in recent for at, (box, _) in enumerate(faces)),
            key=lambda pair: (-pair[0], pair[1], pair[2].number),
        )
        taken: dict[int, FaceTrack] = {}
        for share, at, track in pairs:
            if share >= LEAST_OVERLAP and at not in taken and track not in taken.values():
                taken[at] = track
        for at, (box, confidence) in enumerate(faces):
            if at not in taken:
                taken[at] = FaceTrack(len(tracks))
                tracks.append(taken[at])
            taken[at].seen.append((seconds, box, confidence))
    return tracks
