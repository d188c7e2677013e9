"""Boundaries of shots in series of pictures that are made here: cuts, dissolves, fades, and what is none of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from media.analysis.footage_summary import frame_rate
from media.analysis.frame_series import ROW, TINY_HEIGHT, TINY_WIDTH, Rows
from media.analysis.shot_boundaries import BATCH_FRAMES, boundaries

RATE = 25.0
Pictures = list[NDArray[np.float64]]


def place(seed: int, frames: int, noise: float = 1.0) -> Pictures:
    """A picture that stays, but for a little noise."""
    random = np.random.default_rng(seed)
    still = random.uniform(30, 220, (TINY_HEIGHT, TINY_WIDTH, 3))
    return [still + random.normal(0, noise, still.shape) for _ in range(frames)]


def pan(seed: int, frames: int, speed: float) -> Pictures:
    """A camera that moves over something wide, by `speed` points a frame."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(30, 220, (TINY_HEIGHT, 40, 3))
    wide = np.repeat(coarse, 8, axis=1)
    found = []
    for number in range(frames):
        whole, part = divmod(number * speed % (wide.shape[1] - TINY_WIDTH - 1), 1)
        left = int(whole)
        one, next_to_it = wide[:, left : left + TINY_WIDTH], wide[:, left + 1 : left + 1 + TINY_WIDTH]
        found.append(one * (1 - part) + next_to_it * part)
    return found


def dissolve(one: Pictures, other: Pictures, frames: int) -> Pictures:
    shares = [(number + 1) / (frames + 1) for number in range(frames)]
    mixed = [a * (1 - s) + b * s for a, b, s in zip(one[-frames:], other[:frames], shares, strict=True)]
    return [*one[:-frames], *mixed, *other[frames:]]


def fade(one: Pictures, other: Pictures, frames: int) -> Pictures:
    shares = [(number + 1) / frames for number in range(frames)]
    down = [16 + (each - 16) * (1 - share) for each, share in zip(one[-frames:], shares, strict=True)]
    up = [16 + (each - 16) * share for each, share in zip(other[:frames], shares, strict=True)]
    return [*one[:-frames], *down, *up, *other[frames:]]


def rows(pictures: Pictures) -> Rows:
    found = np.zeros(len(pictures), ROW)
    found["tiny"] = np.clip(np.array(pictures), 0, 255).astype(np.uint8)
    found["seconds"] = np.arange(len(pictures)) / RATE
    found["brightness"] = found["tiny"][..., 0].mean(axis=(1, 2))
    found["change"][1:] = np.abs(np.diff(found["tiny"].astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    return found


def kinds(pictures: Pictures) -> list[tuple[str, int, int]]:
    return [(each.transition, each.begin, each.end) for each in boundaries(rows(pictures), RATE)]


def test_a_cut_is_where_the_picture_is_another_one() -> None:
    assert kinds([*place(1, 50), *place(2, 40), *place(3, 30)]) == [("cut", 50, 50), ("cut", 90, 90)]


@pytest.mark.parametrize("frames", [8, 12, 25, 38])
def test_a_dissolve_is_found_where_it_is(frames: int) -> None:
    [(kind, begin, end)] = kinds(dissolve(place(1, 100), place(2, 100), frames))
    assert kind == "dissolve"
    assert (begin + end) / 2 == pytest.approx(100 - frames / 2, abs=6)


def test_a_fade_reaches_from_the_first_darker_picture_to_the_last() -> None:
    [(kind, begin, end)] = kinds(fade(place(1, 80), place(2, 80), 20))
    assert kind == "fade"
    assert [begin, end] == pytest.approx([60, 100], abs=3)


def test_a_flash_is_no_cut() -> None:
    pictures = place(1, 80)
    pictures[40] = np.full_like(pictures[40], 250.0)
    assert kinds(pictures) == []


@pytest.mark.parametrize("speed", [0.1, 0.3, 1.0, 3.0])
def test_a_camera_that_moves_makes_no_shots(speed: float) -> None:
    assert kinds(pan(7, min(300, int(280 / speed)), speed)) == []


def test_a_still_and_a_single_picture_have_none() -> None:
    assert kinds(place(1, 200, noise=0.0)) == []
    assert kinds(place(1, 1)) == []
    assert kinds(place(1, 2)) == []


def test_boundaries_of_one_transition_are_merged() -> None:
    assert len(kinds([*place(1, 50), *place(2, 6), *place(3, 50)])) == 1


def test_where_a_batch_ends_makes_no_difference() -> None:
    before = place(1, BATCH_FRAMES + 10)
    [(kind, begin, end)] = kinds(dissolve(before, place(2, 60), 20))
    assert kind == "dissolve"
    assert (begin + end) / 2 == pytest.approx(BATCH_FRAMES, abs=6)


def test_a_rate_is_told_by_the_middle_distance() -> None:
    regular, uneven = rows(place(1, 50)), rows(place(1, 50))
    uneven["seconds"][::3] += 0.035
    assert frame_rate(regular)[0] == pytest.approx(25)
    assert [frame_rate(each)[1] for each in (regular, uneven)] == [False, True]
    assert frame_rate(rows(place(1, 1))) == (25.0, False)
