"""A song in words: what its vector says about its metadata, and about its sound as people put it."""

from common.events.songs import SongFacts

SLOW_BPM, FAST_BPM = 90.0, 130.0
QUIET_LUFS, LOUD_LUFS = -20.0, -10.0


def song_text(facts: SongFacts, loudness: float | None = None) -> str:
    """One line, with everything that somebody may ask for."""
    said = [
        " by ".join(part for part in (facts.title, facts.artist) if part),
        facts.album,
        ", ".join(facts.genres),
        ", ".join(facts.tags),
        "" if facts.year is None else f"{facts.year}, {facts.year // 10 * 10}s",
        *_sound(facts, loudness),
    ]
    return ". ".join(part for part in said if part)


def _sound(facts: SongFacts, loudness: float | None) -> list[str]:
    words = list[str]()
    if facts.tempo is not None:
        pace = "slow" if facts.tempo < SLOW_BPM else "fast" if facts.tempo > FAST_BPM else "moderate tempo"
        words.append(f"{pace}, {facts.tempo:.0f} bpm")
    if facts.key is not None:
        words.append(f"{facts.key} {facts.mode or ''}".strip())
    if loudness is not None:
        words.append("quiet" if loudness < QUIET_LUFS else "loud" if loudness > LOUD_LUFS else "")
    return words
