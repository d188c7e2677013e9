"""Tempo, key, loudness and descriptor of tracks whose truth is known, and files that are no tracks."""

from pathlib import Path

import numpy as np
import pytest

from media.measurement.media_error import MediaError
from media.music.chroma_patches import SIZE as HARMONY_SIZE
from media.music.chroma_patches import harmony_of
from media.music.music_features import SILENCE_LUFS, MusicFeatures, analyse
from media.music.spectrogram import FRAMES_PER_SECOND
from tests.support.synth_music import RATE, Samples, as_file, cover_of, played, random_song

TYPES = {"WAV": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg", "MP3": "audio/mpeg"}


def heard(folder: Path, samples: Samples, kind: str = "WAV") -> MusicFeatures:
    path = folder / "track"
    path.write_bytes(as_file(samples, kind))
    return analyse(path, TYPES[kind])


def test_tempo_and_key_are_right_whatever_the_file(tmp_path: Path) -> None:
    for seed, kind in enumerate(TYPES, 4):
        song = random_song(seed, bars=8)
        found = heard(tmp_path, played(song), kind)
        assert abs(found.tempo_bpm - song.bpm) / song.bpm < 0.04, (seed, song, found.tempo_bpm)
        assert (found.key, found.mode) == (song.key, song.mode), (seed, found.key, found.mode)


def test_a_cover_is_nearer_than_strangers_though_another_metrical_level_is_heard(tmp_path: Path) -> None:
    songs = [random_song(seed, bars=8) for seed in (9201, 9210, 9205, 9206)]
    originals = [heard(tmp_path, played(song)) for song in songs]
    covers = [heard(tmp_path, played(cover_of(song, song.composition - 9200))) for song in songs]
    steps = [cover.tempo_bpm / song.tempo_bpm for cover, song in zip(covers, originals, strict=True)]
    assert max(steps) > 1.5, "no cover is heard in double time"
    assert min(steps) < 0.7, "no cover is heard in half time"
    likeness = np.array([cover.descriptor for cover in covers]) @ np.array([song.descriptor for song in originals]).T
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3], likeness


def test_harmony_does_not_change_with_the_metrical_level_the_key_or_the_beginning() -> None:
    chroma = np.repeat(np.random.default_rng(1).random((12, 128), dtype=np.float32), 13, axis=1)
    bpm = 30 * FRAMES_PER_SECOND / 13
    original = harmony_of(chroma, bpm)
    assert original.shape == (HARMONY_SIZE,)
    assert np.linalg.norm(original) == pytest.approx(1.0, abs=1e-5)
    for same in (
        harmony_of(chroma, bpm / 2),
        harmony_of(chroma, 2 * bpm),
        harmony_of(np.roll(chroma, 5, axis=0), bpm),
    ):
        assert original == pytest.approx(same, abs=1e-4)
    assert float(np.dot(original, harmony_of(np.roll(chroma, 4 * 13, axis=1), bpm))) > 0.95
    stranger = np.repeat(np.random.default_rng(2).random((12, 128), dtype=np.float32), 13, axis=1)
    assert float(np.dot(original, harmony_of(stranger, bpm))) < 0.8


def test_what_is_tuned_otherwise_is_heard_as_if_it_were_not(tmp_path: Path) -> None:
    song = random_song(9205, bars=8)
    samples = played(song)
    original = heard(tmp_path, samples)
    for cents in (-40, 40):
        places = np.arange(0, len(samples) - 1, 2 ** (cents / 1200))
        found = heard(tmp_path, np.interp(places, np.arange(len(samples)), samples))
        assert (found.key, found.mode) == (song.key, song.mode)
        assert float(np.dot(found.descriptor, original.descriptor)) > 0.9


def test_loudness_is_that_of_the_standard(tmp_path: Path) -> None:
    # A sine of 997 Hz at full scale in one channel is -3.01 LUFS (ITU-R BS.1770-4); this one has a tenth of that.
    tone = np.sin(2 * np.pi * 997 * np.arange(5 * RATE) / RATE)
    found = heard(tmp_path, 0.1 * tone)
    assert found.loudness_lufs == pytest.approx(-23.0, abs=0.3)
    assert found.energy_db == pytest.approx(-23.0, abs=0.2)


def test_silence_has_neither_sound_nor_descriptor(tmp_path: Path) -> None:
    found = heard(tmp_path, np.zeros(3 * RATE))
    assert found.loudness_lufs == SILENCE_LUFS
    assert not any(found.descriptor)


def test_what_is_no_track_says_why(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="less than 1 s"):
        heard(tmp_path, np.zeros(RATE // 2))
    path = tmp_path / "broken"
    path.write_bytes(as_file(np.zeros(2 * RATE), "FLAC")[:50])
    with pytest.raises(MediaError):
        analyse(path, "audio/flac")
    with pytest.raises(MediaError):
        analyse(path, "audio/mpeg")


def test_only_the_beginning_of_a_long_file_is_listened_to(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(as_file(played(random_song(1, bars=4))))
    found = analyse(path, "audio/wav", max_seconds=3.0)
    assert (found.seconds, found.cut) == (3.0, True)
