"""What the service has worker processes do about files.

The packages that decode are heavy. They are imported inside, so that only the process that calls loads them.
"""

from pathlib import Path

from media.measurement.findings import FacesAt, FrameFile, MediaFacts, Sound, VoiceFeatures


def probe(path: Path, max_seconds: float) -> MediaFacts:
    """What a file is; raises MediaError."""
    from media.measurement import media_file

    return media_file.probe(path, max_seconds)


def unpack_sound(path: Path, content_type: str, out: Path, max_seconds: float) -> Sound:
    """Write its sound to `out` as samples; raises MediaError. Reports the seconds that are done."""
    from media.measurement import pcm_file

    return pcm_file.unpack_sound(path, content_type, out, max_seconds)


def pieces(pcm: Path, max_samples: int) -> list[tuple[int, int]]:
    """The samples in pieces, cut where it is quiet."""
    from media.measurement import pcm_file

    return pcm_file.pieces(pcm, max_samples)


def write_wav(pcm: Path, begin: int, end: int, out: Path) -> int:
    """Some of the samples as a WAV file; returns its size."""
    from media.measurement import pcm_file

    return pcm_file.write_wav(pcm, begin, end, out)


def frame_files(
    path: Path, facts: MediaFacts, folder: Path, every: float, max_side: int, max_seconds: float
) -> list[FrameFile]:
    """Pictures at even steps as JPEG files; raises MediaError. Reports the seconds that are done."""
    from media.measurement import frame_files as frames

    return frames.frame_files(path, facts, folder, every=every, max_side=max_side, max_seconds=max_seconds)


def voice_features(pcm: Path, window_seconds: float) -> VoiceFeatures:
    """Pitch, energy, pace and pauses. Reports the seconds that are done."""
    from media.measurement import voice_features as voice

    return voice.voice_features(pcm, window_seconds)


def face_boxes(path: Path, facts: MediaFacts, model: Path, every: float, max_seconds: float) -> list[FacesAt]:
    """Where faces are; raises MediaError. Reports the seconds that are done."""
    from media.measurement import face_boxes as faces

    return faces.face_boxes(path, facts, model, every=every, max_seconds=max_seconds)
