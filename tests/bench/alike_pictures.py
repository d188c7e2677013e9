"""How near pictures of one shot or photograph are to one another, and those of different ones."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from common.storage.model_files import MOBILENET
from media.analysis import keyframe_pictures, picture_embedding
from media.content.steps.clusters_step import nearness_of
from media.content.steps.embeddings_step import MODEL, PLAIN
from media.measurement.media_file import probe
from sonant_cli.model_fetch import install
from tests.bench.real_clips import CLIPS, FOLDER, PHOTOGRAPHS, RealFile, fetched

LONGEST = 1e6
# Of each shot, pictures are taken at these parts of it; shorter ones are left out.
PARTS, LEAST_FRAMES = (0.2, 0.5, 0.8), 20


def show_alike() -> None:
    """For each model, from its threshold on: the share of pairs of one shot, and of pairs of different ones."""
    install([MOBILENET], FOLDER)
    pictures = [each for file in CLIPS for each in _of_clip(file)]
    pictures += [each for file in PHOTOGRAPHS for each in _of_photograph(file)]
    for name, model in ((MODEL, FOLDER / MOBILENET.file), (PLAIN, None)):
        found = picture_embedding.looks([path for path, _ in pictures], model, None)
        vectors = np.array([look.vector for look in found])
        same, other = list[float](), list[float]()
        for one, two in itertools.combinations(range(len(pictures)), 2):
            pairs = same if pictures[one][1] == pictures[two][1] else other
            pairs.append(float(vectors[one] @ vectors[two]))
        near = nearness_of(name)
        print(
            f"{name}: of pairs of one shot {np.mean(np.array(same) >= near):.3f} are at least {near:g} alike, "
            f"of pairs of different ones {np.mean(np.array(other) >= near):.4f}"
        )


def _of_clip(file: RealFile) -> Iterator[tuple[Path, str]]:
    """Pictures, each with what it is of."""
    path = fetched(file)
    facts = probe(path, LONGEST)
    edges = [0, *file.cuts, int((facts.seconds or 0) * facts.frame_rate)]
    for begin, end in itertools.pairwise(edges):
        if end - begin >= LEAST_FRAMES:
            seconds = [(begin + (end - begin) * part) / facts.frame_rate for part in PARTS]
            name = f"{file.name}-{begin}"
            for keyframe in keyframe_pictures.video_keyframes(path, facts, _folder(name), seconds):
                yield keyframe.path, name


def _of_photograph(file: RealFile) -> Iterator[tuple[Path, str]]:
    """The photograph, cropped, mirrored and darkened."""
    path, folder = fetched(file), _folder(file.name + "-versions")
    [keyframe] = keyframe_pictures.image_keyframe(path, probe(path, LONGEST), folder)
    with Image.open(keyframe.path) as image:
        width, height = image.size
        versions = [
            image.copy(),
            image.crop((width // 10, height // 10, width * 9 // 10, height * 9 // 10)),
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            ImageEnhance.Brightness(image).enhance(0.6),
        ]
    for number, version in enumerate(versions):
        out = folder / f"version-{number}.jpg"
        version.save(out)
        yield out, file.name


def _folder(name: str) -> Path:
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    return folder
