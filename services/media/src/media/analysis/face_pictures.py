"""Faces in keyframes, by the detector YuNet, and their pictures cut out."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from media.analysis.analysis_findings import FaceFound, Keyframe
from media.measurement.face_boxes import MAX_SIDE, MOST, OVERLAP, SCORE
from media.measurement.findings import FaceBox

# Around a face, as a share of its size.
MARGIN = 0.25
# A smaller face (in pixels of the keyframe) is counted, but tells nothing of who it is.
LEAST_SIDE = 24
CUT_SIDE = 160


def faces(keyframes: Sequence[Keyframe], model: Path, folder: Path) -> list[FaceFound]:
    """The faces of each picture, the largest first, with their pictures as JPEG files."""
    found: list[FaceFound] = []
    detector = cv2.FaceDetectorYN.create(str(model), "", (MAX_SIDE, MAX_SIDE), SCORE, OVERLAP, MOST)
    for keyframe in keyframes:
        with Image.open(keyframe.path) as opened:
            image = opened.convert("RGB")
        rows = sorted(_rows(image, detector), key=lambda row: -float(row[2] * row[3]))
        for number, row in enumerate(rows[:MOST]):
            out = folder / f"face-{keyframe.number:05}-{number:02}.jpg"
            if min(row[2], row[3]) >= LEAST_SIDE:
                _cut(image, row).save(out, "JPEG", quality=88)
            found.append(FaceFound(keyframe.number, _box(row, keyframe.scale), out))
    return found


def _rows(image: Image.Image, detector: cv2.FaceDetectorYN) -> list["np.ndarray[tuple[int], np.dtype[np.float32]]"]:
    """Each is x, y, width, height, five marks of the face, and how sure it is, in pixels of the picture."""
    small = image.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    pixels = np.ascontiguousarray(np.asarray(small)[:, :, ::-1])
    detector.setInputSize(small.size)
    _, rows = detector.detect(pixels)
    grown = image.width / small.width
    return [np.append(row[:14] * grown, row[14]) for row in (() if rows is None else rows)]


def _box(row: "np.ndarray[tuple[int], np.dtype[np.float32]]", scale: float) -> FaceBox:
    x, y, width, height = (round(float(value) / scale, 1) for value in row[:4])
    return FaceBox(x, y, width, height, round(float(row[-1]), 3))


def _cut(image: Image.Image, row: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> Image.Image:
    x, y, width, height = (float(value) for value in row[:4])
    side = max(width, height) * (1 + MARGIN)
    left, top = x + (width - side) / 2, y + (height - side) / 2
    return image.crop((round(left), round(top), round(left + side), round(top + side))).resize((CUT_SIDE, CUT_SIDE))
