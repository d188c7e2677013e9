"""Films spliced from real footage, with cuts, dissolves and fades whose place is known."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from tests.bench.real_clips import CLIPS, FOLDER, fetched
from tests.support.films import Picture, dissolved, faded, film

WIDTH, HEIGHT = 640, 360
KINDS = ("cut", "dissolve", "fade")
# Shorter shots of a clip are left out.
LEAST = 40
# What is left of a shot between its transitions, and what a gradual one takes, in frames (25 a second).
CALM, LENGTHS = (20, 60), (10, 32)


@dataclass(frozen=True)
class Known:
    """A transition: its kind, its first frame, and the first frame behind it."""

    kind: str
    begin: int
    end: int


@dataclass(frozen=True)
class Spliced:
    """A film and what is known of it."""

    path: Path
    known: tuple[Known, ...]


def spliced(seed: int, transitions: int = 24) -> Spliced:
    """The same film for one seed; it is kept with the clips."""
    path = FOLDER / f"spliced-{seed}-{transitions}.mp4"
    truth = path.with_suffix(".json")
    if not truth.exists():
        frames, known = _spliced(np.random.default_rng(seed), transitions)
        film(path, frames)
        truth.write_text(json.dumps([[each.kind, each.begin, each.end] for each in known]))
    return Spliced(path, tuple(Known(*each) for each in json.loads(truth.read_text())))


def _spliced(random: np.random.Generator, transitions: int) -> tuple[list[Picture], list[Known]]:
    shots, last = _shots(), -1
    kinds = [KINDS[number % len(KINDS)] for number in range(transitions)]
    lengths = [0 if kind == "cut" else int(random.integers(*LENGTHS)) for kind in kinds]
    frames, known = list[Picture](), list[Known]()
    for number in range(transitions + 1):
        before, behind = ([0, *lengths][number], [*lengths, 0][number])
        calm = int(random.integers(*CALM))
        last = _another(random, shots, last, before + calm + behind)
        begin = int(random.integers(0, len(shots[last]) - before - calm - behind + 1))
        shot = shots[last][begin : begin + before + calm + behind]
        if number == 0:
            frames = list(shot)
            continue
        at, kind = len(frames) - before, kinds[number - 1]
        join = {"cut": lambda one, other, _: [*one, *other], "dissolve": dissolved, "fade": faded}[kind]
        frames = join(frames, shot, before)
        known.append(Known(kind, at, at + (2 * before if kind == "fade" else before)))
    return frames, known


def _another(random: np.random.Generator, shots: list[list[Picture]], last: int, frames: int) -> int:
    """A shot that is long enough, and not the one before."""
    fitting = [number for number, shot in enumerate(shots) if number != last and len(shot) >= frames]
    return int(random.choice(fitting))


def _shots() -> list[list[Picture]]:
    """The shots of all clips, apart."""
    found = []
    for clip in CLIPS:
        with av.open(str(fetched(clip))) as container:
            frames = [
                cv2.resize(frame.to_ndarray(format="rgb24"), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(
                    np.uint8
                )
                for frame in container.decode(video=0)
            ]
        edges = [0, *clip.cuts, len(frames)]
        found += [frames[begin:end] for begin, end in pairwise(edges) if end - begin > LEAST]
    return found
