"""Vectors of texts, and how well texts answer a question, by small models on this machine.

Everything here runs in a worker process: it loads some hundred megabytes. The models are read from files that are
named by hash; no package of a stranger is imported, and nothing is fetched.
"""

import functools
import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.storage.model_files import BGE_SMALL, MINILM, RERANKER, ModelFile, model_path

MAX_TOKENS = 256
# The memory that the runtime takes grows with the tokens of a batch, and is not given back.
BATCH = 8


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """A model: its files, how the vectors of tokens become that of a text, and what a question begins with."""

    name: str
    files: tuple[ModelFile, ModelFile]
    pooling: Literal["mean", "first"] = "mean"
    question: str = ""
    dimensions: int = 384


MODELS = {
    model.name: model
    for model in (
        EncoderModel("all-minilm-l6-v2", MINILM),
        EncoderModel(
            "bge-small-en-v1.5",
            BGE_SMALL,
            pooling="first",
            question="Represent this sentence for searching relevant passages: ",
        ),
    )
}
RERANKERS = {"minilm-l4-reranker": RERANKER}


def token_starts(folder: Path, model: str, text: str) -> list[int]:
    """The characters at which the tokens of a text begin. Raises ModelMissing."""
    encoding = _tokenizer(_path(folder, MODELS[model].files[1])).encode(text, add_special_tokens=False)
    return [start for start, _ in encoding.offsets]


def embed(folder: Path, model: str, texts: Sequence[str], threads: int, question: bool = False) -> list[str]:
    """The vectors of texts, of length 1, as pgvector reads them, in the order of the texts. Raises ModelMissing."""
    import numpy

    encoder = MODELS[model]
    begun = [f"{encoder.question}{text}" for text in texts] if question else texts
    out = [""] * len(texts)
    for places, inputs in _batches(_session_of(folder, encoder.files, threads), begun):
        states = inputs.run()
        if encoder.pooling == "first":
            vectors = states[:, 0]
        else:
            mask = inputs.mask[:, :, None].astype(states.dtype)
            vectors = (states * mask).sum(axis=1) / numpy.maximum(mask.sum(axis=1), 1e-9)
        vectors = vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        for place, vector in zip(places, vectors.tolist(), strict=True):
            out[place] = written(vector)
    return out


def rerank(folder: Path, model: str, query: str, texts: Sequence[str], threads: int) -> list[float]:
    """How likely each text is to answer the question, between 0 and 1. Raises ModelMissing."""
    import numpy

    out = [0.0] * len(texts)
    session = _session_of(folder, RERANKERS[model], threads)
    for places, inputs in _batches(session, [(query, text) for text in texts]):
        logits = inputs.run()
        likely = 1 / (1 + numpy.exp(logits[:, 0] - logits[:, 1]))
        for place, value in zip(places, likely, strict=True):
            out[place] = float(value)
    return out


def written(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it; its numbers of 16 bits have three to four digits."""
    return f"[{','.join(f'{value:.5g}' for value in vector)}]"


@dataclass(frozen=True, slots=True)
class _Inputs:
    session: Any
    ids: Any
    mask: Any
    types: Any

    def run(self) -> Any:
        given = {"input_ids": self.ids, "attention_mask": self.mask, "token_type_ids": self.types}
        return self.session.run(None, given)[0]


def _batches(loaded: tuple[Any, Any], texts: Sequence[Any]) -> Iterator[tuple[list[int], _Inputs]]:
    """Texts of about one length together, with their places, so that little is computed for padding."""
    import numpy

    session, tokenizer = loaded
    encoded = tokenizer.encode_batch(list(texts))
    order = sorted(range(len(texts)), key=lambda place: len(encoded[place].ids))
    for at in range(0, len(order), BATCH):
        places = order[at : at + BATCH]
        longest = max(len(encoded[place].ids) for place in places)
        ids, mask, types = (numpy.zeros((len(places), longest), dtype=numpy.int64) for _ in range(3))
        for row, place in enumerate(places):
            length = len(encoded[place].ids)
            ids[row, :length] = encoded[place].ids
            mask[row, :length] = 1
            types[row, :length] = encoded[place].type_ids
        yield places, _Inputs(session, ids, mask, types)


def _session_of(folder: Path, files: tuple[ModelFile, ModelFile], threads: int) -> tuple[Any, Any]:
    model, tokenizer = (_path(folder, file) for file in files)
    return _session(model, threads), _truncating(tokenizer)


# The hash of a file is looked at once in a process.
_path = functools.cache(model_path)


@functools.cache
def _session(path: Path, threads: int) -> Any:
    runtime: Any = importlib.import_module("onnxruntime")

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the processor from a conversation.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@functools.cache
def _tokenizer(path: Path) -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    # The files come with a length and a padding of their own.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@functools.cache
def _truncating(path: Path) -> Any:
    from tokenizers import Tokenizer

    _tokenizer(path)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer
