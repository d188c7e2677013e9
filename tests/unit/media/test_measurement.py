"""Files are read safely and measured: voices of known pitch and pace, clips, and all that is damaged or pretends."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from media.measurement.face_tracks import face_tracks, overlap
from media.measurement.frame_files import frame_files
from media.measurement.media_error import MediaError
from media.measurement.media_file import probe
from media.measurement.pcm_file import RATE, pieces, samples_of, unpack_sound, write_wav
from media.measurement.series import Box, ModelSeries, Sample, Track, summaries
from media.measurement.vocabulary import common_name, common_names
from media.measurement.voice_features import voice_features
from tests.support.media_files import clip, image, packed_audio, picture, voice, wav

MINUTE = 60.0


def put(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


class TestProbe:
    def test_audio(self, tmp_path: Path) -> None:
        facts = probe(put(tmp_path, wav(voice(1.5))), MINUTE)
        assert (facts.kind, facts.content_type, facts.has_audio) == ("audio", "audio/wav", True)
        assert facts.seconds == pytest.approx(1.5)

    @pytest.mark.parametrize(
        ("suffix", "codec", "found"),
        [("mp3", "mp3", "audio/mpeg"), ("flac", "flac", "audio/flac"), ("ogg", "libopus", "audio/ogg")],
    )
    def test_packed_audio(self, tmp_path: Path, suffix: str, codec: str, found: str) -> None:
        rate = 48_000 if codec == "libopus" else RATE
        path = packed_audio(voice(2.0), tmp_path / f"a.{suffix}", codec, rate)
        assert probe(path, MINUTE).content_type == found
        sound = unpack_sound(path, found, tmp_path / "pcm", MINUTE)
        assert sound.seconds == pytest.approx(2.0, abs=0.1)
        assert not sound.damaged

    def test_video(self, tmp_path: Path) -> None:
        path = clip(tmp_path / "a.mp4", [picture()] * 20, samples=voice(2.0))
        facts = probe(path, MINUTE)
        assert (facts.kind, facts.width, facts.height, facts.has_audio) == ("video", 320, 240, True)
        assert facts.seconds == pytest.approx(2.0, abs=0.1)
        assert facts.frame_rate == pytest.approx(10)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
    def test_image(self, tmp_path: Path, kind: str) -> None:
        facts = probe(put(tmp_path, image(kind)), MINUTE)
        assert (facts.kind, facts.width, facts.height) == ("image", 320, 240)


MATROSKA = b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x88matroska"
HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def png_bomb() -> bytes:
    """30,000 pixels a side of nothing, in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**7))) + chunk(b"IEND", b"")
    )


class TestHostile:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"", "unsupported_media_type"),
            (b"hello", "unsupported_media_type"),
            (HLS, "unsupported_media_type"),
            (CONCAT, "unsupported_media_type"),
            (SVG, "unsupported_media_type"),
            (b"%PDF-1.4\n", "unsupported_media_type"),
            (b"PK\x03\x04" + bytes(100), "unsupported_media_type"),
            (b"RIFF\x24\x00\x00\x00WAVEfmt ", "media_unreadable"),
            (b"\xff\xd8\xff\xe0" + bytes(100), "media_unreadable"),
            (image("PNG")[:-40], "media_unreadable"),
            (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + HLS, "media_unreadable"),
            (MATROSKA + bytes(200), "media_unreadable"),
            (b"OggS\x00\x02" + bytes(300), "media_unreadable"),
            (b"fLaC" + bytes(300), "media_unreadable"),
            (png_bomb(), "image_too_large"),
        ],
    )
    def test_what_cannot_be_measured_says_why(self, tmp_path: Path, data: bytes, code: str) -> None:
        with pytest.raises(MediaError) as refused:
            probe(put(tmp_path, data), MINUTE)
        assert refused.value.code == code
        assert "/etc" not in refused.value.message

    def test_a_playlist_inside_another_name_is_never_followed(self, tmp_path: Path) -> None:
        """By its own demuxer it would have files of this machine read."""
        for name in ("list.m3u8", "list.mp4", "list.ffconcat"):
            for data in (HLS, CONCAT):
                with pytest.raises(MediaError):
                    probe(put(tmp_path, data, name), MINUTE)

    def test_a_file_that_says_it_is_short_is_counted(self, tmp_path: Path) -> None:
        data = bytearray(wav(voice(3.0)))
        # Its head says one sample.
        data[40:44] = struct.pack("<I", 2)
        data[4:8] = struct.pack("<I", 38)
        path = put(tmp_path, bytes(data))
        with pytest.raises(MediaError) as refused:
            unpack_sound(packed_audio(voice(3.0), tmp_path / "a.flac", "flac"), "audio/flac", tmp_path / "pcm", 2.0)
        assert refused.value.code == "media_too_long"
        assert probe(path, MINUTE).kind == "audio"

    def test_what_is_too_long_says_so_before_it_is_unpacked(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError) as refused:
            probe(put(tmp_path, wav(voice(3.0))), 2.0)
        assert (refused.value.code, "2 seconds" in refused.value.message) == ("media_too_long", True)

    def test_a_truncated_file_is_measured_as_far_as_it_goes(self, tmp_path: Path) -> None:
        whole = packed_audio(voice(4.0), tmp_path / "a.mp3", "mp3").read_bytes()
        path = put(tmp_path, whole[: len(whole) // 2])
        sound = unpack_sound(path, "audio/mpeg", tmp_path / "pcm", MINUTE)
        assert 1.0 < sound.seconds < 3.0

    def test_noise_in_the_middle_is_passed_over(self, tmp_path: Path) -> None:
        whole = bytearray(packed_audio(voice(6.0), tmp_path / "a.flac", "flac").read_bytes())
        middle = len(whole) // 2
        whole[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)
        sound = unpack_sound(put(tmp_path, bytes(whole)), "audio/flac", tmp_path / "pcm", MINUTE)
        assert 2.0 < sound.seconds < 6.5


class TestSound:
    def test_a_long_sound_is_cut_where_it_is_quiet(self, tmp_path: Path) -> None:
        samples = voice(100.0, pauses=((37.0, 38.0), (71.0, 72.0)))
        path = put(tmp_path, samples.tobytes())
        cuts = pieces(path, 40 * RATE)
        assert cuts[0][0] == 0
        assert cuts[-1][1] == len(samples)
        assert [one[1] for one in cuts[:-1]] == [other[0] for other in cuts[1:]]
        assert all(0 < end - begin <= 40 * RATE for begin, end in cuts)
        assert 37.0 <= cuts[0][1] / RATE <= 38.0
        size = write_wav(path, *cuts[0], tmp_path / "piece.wav")
        assert size == 44 + 2 * (cuts[0][1] - cuts[0][0])
        assert np.array_equal(samples_of(tmp_path / "piece.wav")[22:], samples[: cuts[0][1]])

    @pytest.mark.parametrize("pitch", [85.0, 150.0, 230.0, 400.0])
    def test_the_pitch_of_a_voice(self, tmp_path: Path, pitch: float) -> None:
        found = voice_features(put(tmp_path, voice(3.0, pitch=pitch).tobytes()), 1.0)
        assert len(found.windows) == 3
        for window in found.windows:
            assert window.pitch_hz == pytest.approx(pitch, rel=0.03)
            assert window.voiced_share > 0.6

    @pytest.mark.parametrize("syllables", [2.0, 4.0, 6.0])
    def test_its_pace(self, tmp_path: Path, syllables: float) -> None:
        found = voice_features(put(tmp_path, voice(5.0, syllables=syllables).tobytes()), 5.0)
        assert found.windows[0].syllables_per_second == pytest.approx(syllables, abs=0.5)

    def test_its_pauses(self, tmp_path: Path) -> None:
        found = voice_features(put(tmp_path, voice(6.0, pauses=((2.0, 3.0), (4.0, 4.1))).tobytes()), 1.0)
        long = [(begin, end) for begin, end in found.pauses if end - begin > 0.5]
        [pause] = long
        assert pause == pytest.approx((2.0, 3.0), abs=0.15)
        assert found.windows[2].pause_share > 0.7
        assert found.windows[0].pause_share < 0.2

    @pytest.mark.parametrize("samples", [voice(0.001), np.zeros(RATE, np.int16), np.full(RATE, 32767, np.int16)])
    def test_silence_and_less(self, tmp_path: Path, samples: "np.ndarray[tuple[int], np.dtype[np.int16]]") -> None:
        for window in voice_features(put(tmp_path, samples.tobytes()), 1.0).windows:
            assert window.pitch_hz is None or 60 <= window.pitch_hz <= 500
            assert np.isfinite(window.energy_db)

    def test_noise_has_no_pitch(self, tmp_path: Path) -> None:
        noise = (np.random.default_rng(1).standard_normal(3 * RATE) * 3000).astype(np.int16)
        found = voice_features(put(tmp_path, noise.tobytes()), 3.0)
        assert found.windows[0].voiced_share < 0.1


class TestPictures:
    def test_a_video_gives_one_at_every_step(self, tmp_path: Path) -> None:
        path = clip(tmp_path / "a.mp4", [picture(640, 360)] * 50)
        found = frame_files(path, probe(path, MINUTE), tmp_path, every=1.0, max_side=320, max_seconds=MINUTE)
        assert [each.seconds for each in found] == pytest.approx([0, 1, 2, 3, 4], abs=0.06)
        assert all(each.scale == pytest.approx(0.5) for each in found)
        assert all(each.path.read_bytes().startswith(b"\xff\xd8\xff") for each in found)

    def test_an_image_is_one(self, tmp_path: Path) -> None:
        path = put(tmp_path, image("PNG", 2000, 1000))
        [found] = frame_files(path, probe(path, MINUTE), tmp_path, every=1.0, max_side=500, max_seconds=MINUTE)
        assert found.seconds == 0.0
        assert found.scale == pytest.approx(0.25)

    def test_a_truncated_video_gives_what_there_is(self, tmp_path: Path) -> None:
        whole = clip(tmp_path / "a.mkv", [picture(640, 360)] * 50).read_bytes()
        path = put(tmp_path, whole[: len(whole) // 2])
        facts = probe(path, MINUTE)
        found = frame_files(path, facts, tmp_path, every=1.0, max_side=320, max_seconds=MINUTE)
        assert 0 < len(found) < 5

    def test_faces_that_overlap_are_one(self) -> None:
        left, moved, right = (Box(x=x, y=10, width=50, height=50) for x in (10, 20, 200))
        tracks = face_tracks(
            [(0.0, [(left, 0.9), (right, 0.8)]), (1.0, [(right, 0.8), (moved, 0.9)]), (9.0, [(left, 0.9)])]
        )
        assert [[seen[0] for seen in track.seen] for track in tracks] == [[0.0, 1.0], [0.0, 1.0], [9.0]]
        assert overlap(left, left) == 1.0
        assert overlap(left, right) == 0.0


class TestSeries:
    def test_names_of_all_providers_meet(self) -> None:
        assert common_name("Surprise (positive)") == common_name("surprise (positive)") == "positive-surprise"
        assert common_name("Aesthetic Appreciation") == "aesthetic-appreciation"
        track = Track(
            id="speaker-0", kind="speaker", samples=(Sample(begin=0, end=1, scores={"Joy": 0.5, "Awe": 0.1}),)
        )
        model = ModelSeries(model="prosody", native="prosody", unit="score", tracks=(track,))
        assert common_names([model]) == {"prosody": {"Joy": "joy", "Awe": "awe"}}

    def test_a_summary_is_short(self) -> None:
        samples = tuple(Sample(begin=at, scores={f"n{n}": n / 100 for n in range(48)}) for at in range(1000))
        tracks = tuple(Track(id=f"face-{n}", kind="face", samples=samples[: n + 1]) for n in range(40))
        [found] = summaries([ModelSeries(model="face", native="face", unit="score", tracks=tracks)])
        assert len(found.tracks) == 16
        assert found.tracks[0].id == "face-39"
        assert found.tracks[0].means == {f"n{n}": n / 100 for n in range(47, 39, -1)}
