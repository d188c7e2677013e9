"""The frames of a video as numbers: the same in one go and in stretches, and the same shots."""

from pathlib import Path

import numpy as np
import pytest

from media.analysis.footage_summary import footage
from media.analysis.frame_series import BLOCK_FRAMES, read_stretch, rows_of
from media.measurement.media_error import MediaError
from media.measurement.media_file import probe
from tests.support.films import dissolved, faded, film, shot


def stretches_of(path: Path, cpu_seconds: float) -> list[Path]:
    """Files of stretches, each of which ends once it took so long."""
    facts, found, begin = probe(path, 60), list[Path](), 0.0
    while True:
        out = path.with_name(f"stretch-{cpu_seconds:g}-{len(found)}")
        stretch = read_stretch(path, facts, out, begin, cpu_seconds=cpu_seconds, max_seconds=60)
        found.append(out)
        if stretch.resume is None:
            return found
        assert stretch.resume > begin
        begin = stretch.resume


def test_stretches_are_the_whole_without_a_seam(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [*shot(1, 100), *shot(2, 70), *shot(3, 80)])
    whole, parts = stretches_of(path, 1e6), stretches_of(path, 0.0)
    assert (len(whole), len(parts)) == (1, -(-250 // BLOCK_FRAMES))
    one, other = rows_of(whole), rows_of(parts)
    assert len(one) == len(other) == 250
    assert np.allclose(one["seconds"], other["seconds"])
    # A decoder that begins in the middle of a group may differ by rounding.
    assert np.abs(one["change"] - other["change"]).max() < 1.0
    assert [each.begin for each in footage(parts).shots] == [each.begin for each in footage(whole).shots]


def test_cuts_dissolves_and_fades_of_a_film_are_found(tmp_path: Path) -> None:
    one, two, three, four = (shot(seed, 70, speed=0.3) for seed in range(1, 5))
    path = film(tmp_path / "a.mp4", faded(dissolved([*one[:60], *two[:60]], three, 20), four[:60], 15))
    found = footage(stretches_of(path, 1e6))
    assert [each.transition for each in found.shots] == ["start", "cut", "dissolve", "fade"]
    assert [each.begin for each in found.shots] == pytest.approx([0.0, 2.4, 4.4, 6.8], abs=0.3)
    assert all(each.begin <= each.keyframe < each.end for each in found.shots)


def test_a_film_that_goes_on_too_long_is_refused_whatever_it_says(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", shot(1, 100))
    with pytest.raises(MediaError) as refused:
        read_stretch(path, probe(path, 60), tmp_path / "out", 0.0, cpu_seconds=1e6, max_seconds=2.0)
    assert refused.value.code == "media_too_long"
