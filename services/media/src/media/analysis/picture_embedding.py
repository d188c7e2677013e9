"""What pictures look like, as vectors: by MobileNetV2 where it is installed, else by their colours and edges.

MobileNetV2 (Sandler et al., 2018) gives 1280 numbers before its classes. The file has the classes as its output alone;
a field of the format that may be repeated is appended to it, which names the other output as well.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import imagehash
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from common.kernel.worker_main import report
from media.analysis.analysis_findings import Look

Floats = NDArray[np.float32]

SIDE, RESIZED = 224, 256
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Fields of ModelProto, GraphProto and ValueInfoProto (onnx.proto): graph, output, name.
GRAPH, OUTPUT, NAME = 7, 12, 1
POOLED = "mobilenetv20_features_pool0_fwd"
NAMES = 3
LEAST_SURE = 0.05
COLOUR_BINS = (8, 4, 4)
GRID, DIRECTIONS = 4, 8


def looks(pictures: Sequence[Path], model: Path | None, names: Path | None) -> list[Look]:
    """How each of the JPEG files looks; `model` None for colours and edges, `names` None where nobody has names."""
    network = None if model is None else _Network(model, names)
    found = []
    for path in pictures:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        vector, said = (_colours_and_edges(image), []) if network is None else network.look(image)
        found.append(Look([round(float(value), 5) for value in vector], str(imagehash.phash(image)), said))
        report(len(found))
    return found


class _Network:
    """The model, and what its classes are called."""

    def __init__(self, model: Path, names: Path | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        more = _field(GRAPH, _field(OUTPUT, _field(NAME, POOLED.encode())))
        self._session = onnxruntime.InferenceSession(model.read_bytes() + more, options)
        self._names = [] if names is None else _names(json.loads(names.read_bytes()))

    def look(self, image: Image.Image) -> tuple[Floats, list[tuple[str, float]]]:
        # Both outputs of this graph are tensors.
        scores, pooled = map(np.asarray, self._session.run(None, {"data": _prepared(image)}))
        return _of_length_one(pooled.reshape(-1)), self._said(scores[0]) if self._names else []

    def _said(self, scores: Floats) -> list[tuple[str, float]]:
        """What the picture may show, with the share of each (softmax)."""
        raised = np.exp(scores - scores.max())
        shares = raised / raised.sum()
        best = np.argsort(-shares)[:NAMES].tolist()
        return [(self._names[at], round(float(shares[at]), 3)) for at in best if shares[at] >= LEAST_SURE]


def _names(found: Any) -> list[str]:
    """The classes in their order, from a list, or from an object of numbers and names."""
    if isinstance(found, dict):
        found = [found[str(number)] for number in range(len(found))]
    return [str(name) for name in found]


def _field(number: int, content: bytes) -> bytes:
    """A field of the wire format of Protocol Buffers whose content is shorter than 128 bytes."""
    return bytes((number << 3 | 2, len(content))) + content


def _prepared(image: Image.Image) -> Floats:
    """The middle of the picture, as the model was trained on: one by three channels by 224 by 224."""
    scale = RESIZED / min(image.size)
    size = max(SIDE, round(image.width * scale)), max(SIDE, round(image.height * scale))
    # A picture far longer than high would become a huge one.
    small = image.resize(size) if max(size) <= 8 * RESIZED else image.resize((RESIZED, RESIZED))
    left, top = (small.width - SIDE) // 2, (small.height - SIDE) // 2
    pixels = np.asarray(small.crop((left, top, left + SIDE, top + SIDE)), dtype=np.float32) / 255
    normal = (pixels - np.array(MEAN, np.float32)) / np.array(SPREAD, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None], dtype=np.float32)


def _colours_and_edges(image: Image.Image) -> Floats:
    """A histogram of the colours (128 numbers), and of the directions of edges in 16 fields (128 numbers)."""
    pixels = np.asarray(image.resize((128, 128)))
    colours = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    histogram = cv2.calcHist([colours], [0, 1, 2], None, list(COLOUR_BINS), [0, 180, 0, 256, 0, 256]).reshape(-1)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(across, down)
    direction = (angle / (2 * np.pi) * DIRECTIONS).astype(np.int32) % DIRECTIONS
    field = np.arange(128) * GRID // 128
    cell = (field[:, None] * GRID + field[None, :]) * DIRECTIONS + direction
    edges = np.bincount(cell.reshape(-1), strength.reshape(-1), GRID * GRID * DIRECTIONS)
    both = np.concatenate((_of_length_one(np.sqrt(histogram)), _of_length_one(np.sqrt(edges))))
    return _of_length_one(both)


def _of_length_one(vector: NDArray[Any]) -> Floats:
    length = float(np.linalg.norm(vector))
    same: Floats = (vector / length if length > 0 else np.full(len(vector), len(vector) ** -0.5)).astype(np.float32)
    return same
