"""Shots and faces measured beside known truth: `python -m tests.bench.shots`.

Shots: precision and recall on real clips and on films spliced from them, and frames per second, each beside what the
command `scenedetect` finds by default (its adaptive detector) on the same files in the same run. Faces: recall and
false positives on photographs and clips. Clusters: how near pictures of one shot are. The exit code is 1 where
precision or recall is below its aim, never because of a time.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.storage.model_files import YUNET
from media.analysis import face_pictures, footage_summary, frame_series, keyframe_pictures, shot_boundaries
from media.measurement.media_file import probe
from sonant_cli.model_fetch import install
from tests.bench.alike_pictures import show_alike
from tests.bench.real_clips import CLIPS, FOLDER, PHOTOGRAPHS, RealFile, fetched
from tests.bench.spliced_films import Known, spliced

SCENEDETECT = ("scenedetect-headless==0.7.2",)
AIM_CUTS, AIM_GRADUAL = 0.95, 0.85
# A found boundary is a known one if it is so near, in frames.
NEAR = {"cut": 3, "gradual": 8}
THEIRS = """
import json, sys, time
from scenedetect import AdaptiveDetector, detect
began = time.perf_counter()
scenes = detect(sys.argv[1], AdaptiveDetector())
print(json.dumps([time.perf_counter() - began, [scene[0].frame_num for scene in scenes[1:]]]))
"""
LONGEST = 1e6
Spans = Sequence[tuple[int, int]]


@dataclass
class Score:
    """Of one kind of transition: how many are known, and found; and what was found that is not there."""

    known: int = 0
    found: int = 0


@dataclass
class Tally:
    """Of one detector over all files."""

    kinds: dict[str, Score] = field(default_factory=lambda: {"cut": Score(), "gradual": Score()})
    extra: int = 0
    frames: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, known: Iterable[Known], spans: Spans) -> None:
        left = list(spans)
        for each in known:
            kind = "cut" if each.kind == "cut" else "gradual"
            near = NEAR[kind]
            self.kinds[kind].known += 1
            met = [span for span in left if span[0] <= each.end + near and span[1] >= each.begin - near]
            if met:
                self.kinds[kind].found += 1
                left.remove(met[0])
        self.extra += len(left)

    def recall(self, kind: str) -> float:
        score = self.kinds[kind]
        return score.found / score.known if score.known else 1.0

    def precision(self, kind: str) -> float:
        """Of those found: what is extra counts against each kind in full, since nobody knows which it claims to be."""
        found = self.kinds[kind].found
        return found / (found + self.extra) if found else 0.0

    def cells(self, kind: str) -> tuple[str, str]:
        """Recall and precision as shown; nothing where no such transition is known."""
        if not self.kinds[kind].known:
            return "-", "-"
        return f"{self.recall(kind):.3f}", f"{self.precision(kind):.3f}"


def ours(path: Path) -> tuple[float, int, Spans]:
    """Seconds, frames, and boundaries as spans of frames."""
    facts, out = probe(path, LONGEST), FOLDER / "rows"
    began = time.perf_counter()
    stretch = frame_series.read_stretch(path, facts, out, 0.0, cpu_seconds=LONGEST, max_seconds=LONGEST)
    rows = frame_series.rows_of([out])
    found = shot_boundaries.boundaries(rows, footage_summary.frame_rate(rows)[0])
    return time.perf_counter() - began, stretch.frames, [(each.begin, each.end) for each in found]


def theirs(python: Path, path: Path) -> tuple[float, Spans]:
    """Seconds within the process, and the first frames of all scenes but the first."""
    done = subprocess.run([python, "-c", THEIRS, str(path)], capture_output=True, text=True, check=True, timeout=900)
    seconds, frames = json.loads(done.stdout.splitlines()[-1])
    return seconds, [(frame, frame) for frame in frames]


def python_of_scenedetect() -> Path:
    """An interpreter that has it, in an environment of its own: it is no part of Sonant."""
    home = FOLDER / "scenedetect"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        FOLDER.mkdir(exist_ok=True)
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *SCENEDETECT], check=True, timeout=900)
        (home / "ready").touch()
    return python


def measured(files: Sequence[tuple[Path, Sequence[Known]]], python: Path, rounds: int) -> tuple[Tally, Tally]:
    """Both detectors over the same files, in turns; of several rounds the quickest counts for each file."""
    own, other = Tally(), Tally()
    for path, known in files:
        runs = [(ours(path), theirs(python, path)) for _ in range(rounds)]
        (_, frames, spans), (_, scenes) = runs[0]
        own.add(known, spans)
        other.add(known, scenes)
        own.frames += frames
        other.frames += frames
        own.seconds.append(min(run[0][0] for run in runs))
        other.seconds.append(min(run[1][0] for run in runs))
    return own, other


def show(name: str, own: Tally, other: Tally) -> bool:
    """A table; whether ours reaches its aims."""
    print(f"\n{name}: {own.frames} frames")
    heads = ("recall cuts", "precision", "recall gradual", "precision", "extra", "frames/s")
    print(f"{'':14}" + "".join(f"{head:>16}" for head in heads))
    for who, tally in (("sonant", own), ("scenedetect", other)):
        cells = [cell for kind in ("cut", "gradual") for cell in tally.cells(kind)]
        cells += [str(tally.extra), f"{tally.frames / sum(tally.seconds):.0f}"]
        print(f"{who:14}" + "".join(f"{cell:>16}" for cell in cells))
    ratio = statistics.median(theirs / mine for mine, theirs in zip(own.seconds, other.seconds, strict=True))
    print(f"speed beside scenedetect, median of the files: {ratio:.2f}")
    good = min(own.recall("cut"), own.precision("cut")) >= AIM_CUTS
    if own.kinds["gradual"].known:
        good &= min(own.recall("gradual"), own.precision("gradual")) >= AIM_GRADUAL
    return good


def faces() -> None:
    """Recall and false positives of the face step."""
    install([YUNET], FOLDER)
    model, there, found, wrong, empty = FOLDER / YUNET.file, 0, 0, 0, 0
    for file in (*PHOTOGRAPHS, *(clip for clip in CLIPS if clip.faces is not None)):
        for count in _counted(file, model):
            known = file.faces or 0
            there += known
            found += min(known, count)
            wrong += max(0, count - known)
            empty += known == 0
    print(f"\nfaces: {found} of {there} found (recall {found / there:.3f}), {wrong} where there is none")
    print(f"pictures without a face among them: {empty}")


def _counted(file: RealFile, model: Path) -> list[int]:
    """How many faces are found in each picture; of a clip ten pictures."""
    path = fetched(file)
    facts = probe(path, LONGEST)
    folder = FOLDER / "keyframes"
    folder.mkdir(exist_ok=True)
    if facts.kind == "image":
        keyframes = keyframe_pictures.image_keyframe(path, facts, folder)
    else:
        length = facts.seconds or 1.0
        keyframes = keyframe_pictures.video_keyframes(
            path, facts, folder, [length * (number + 0.5) / 10 for number in range(10)]
        )
    counts = [0] * len(keyframes)
    for face in face_pictures.faces(keyframes, model, folder):
        counts[face.keyframe] += 1
    return counts


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=4, help="how many spliced films")
    parser.add_argument("--rounds", type=int, default=3, help="how often each file is timed")
    parser.add_argument("--first-seed", type=int, default=101)
    options = parser.parse_args()
    python = python_of_scenedetect()
    real = [(fetched(clip), [Known("cut", cut, cut) for cut in clip.cuts]) for clip in CLIPS]
    made = [spliced(options.first_seed + number) for number in range(options.films)]
    good = show("real clips", *measured(real, python, options.rounds))
    good &= show("spliced films", *measured([(each.path, each.known) for each in made], python, options.rounds))
    faces()
    show_alike()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
