"""Where faces are in pictures, by the detector YuNet. Runs in worker processes."""

from pathlib import Path

import cv2
import numpy as np

from media.measurement.findings import FaceBox, FacesAt, MediaFacts
from media.measurement.frame_files import pictures

# Faces of a tenth of this side are still found, and a picture takes some 10 ms.
MAX_SIDE = 640
SCORE = 0.7
OVERLAP = 0.3
MOST = 32


def face_boxes(path: Path, facts: MediaFacts, model: Path, *, every: float, max_seconds: float) -> list[FacesAt]:
    """The faces of all pictures, also of those without any. Raises MediaError."""
    detector, size, found = None, (0, 0), list[FacesAt]()
    for picture in pictures(path, facts, every, MAX_SIDE, max_seconds):
        pixels = np.ascontiguousarray(np.asarray(picture.image.convert("RGB"))[:, :, ::-1])
        if detector is None or size != picture.image.size:
            size = picture.image.size
            detector = cv2.FaceDetectorYN.create(str(model), "", size, SCORE, OVERLAP, MOST)
        _, rows = detector.detect(pixels)
        boxes = [_box(row, picture.scale) for row in (() if rows is None else rows)]
        boxes.sort(key=lambda box: -box.width * box.height)
        found.append(FacesAt(round(picture.seconds, 3), boxes[:MOST]))
    return found


def _box(row: "np.ndarray[tuple[int], np.dtype[np.float32]]", scale: float) -> FaceBox:
    x, y, width, height = (round(float(value) / scale, 1) for value in row[:4])
    return FaceBox(x, y, width, height, round(float(row[-1]), 3))
