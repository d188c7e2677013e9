"""A file as what is searched of it: done in a worker process, since whoever made the file chooses the cost."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.events.documents import DocumentType
from media.retrieval import encoders
from media.retrieval.chunking import Chunk, TokenStarts, chunks_of
from media.retrieval.document_text import DocumentText, DocumentUnfit, joined
from media.retrieval.file_types import type_of
from media.retrieval.lexical_terms import sparse, term_list, term_weights, terms_of, word_starts


@dataclass(frozen=True, slots=True)
class TextBounds:
    """How much a document may hold."""

    pages: int
    characters: int
    chunks: int


@dataclass(frozen=True, slots=True)
class PreparedChunk:
    """A chunk with the numbers and the weights of its terms, as PostgreSQL reads them."""

    chunk: Chunk
    terms: str
    weights: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be searched, but for its vectors."""

    content_type: DocumentType
    characters: int
    chunks: tuple[PreparedChunk, ...]


@dataclass(frozen=True, slots=True)
class Preparation:
    """What to make of a file. Without a `model` of ours, tokens are counted by words."""

    path: Path
    content_type: DocumentType | None
    scope: str
    models: Path
    model: str | None
    bounds: TextBounds


def prepare(wanted: Preparation) -> Prepared:
    """Read the file and cut it into chunks. Raises DocumentUnfit, and ModelMissing."""
    content_type = wanted.content_type or type_of(wanted.path)
    document = _read(wanted.path, content_type, wanted.bounds)
    chunks = chunks_of(document, _token_starts(wanted))
    if not chunks:
        raise DocumentUnfit("document_without_text", "There is no text in this document.")
    if len(chunks) > wanted.bounds.chunks:
        raise too_long("chunks", wanted.bounds.chunks)
    prepared = tuple(_prepared(chunk, wanted.scope) for chunk in chunks)
    return Prepared(content_type, len(document.text), prepared)


def _token_starts(wanted: Preparation) -> TokenStarts:
    model = wanted.model
    if model is None:
        return word_starts
    return lambda text: encoders.token_starts(wanted.models, model, text)


def _read(path: Path, content_type: DocumentType, bounds: TextBounds) -> DocumentText:
    from media.retrieval import docx_text, html_text, markdown_text, pdf_text, plain_text

    readers: dict[DocumentType, Callable[[], DocumentText]] = {
        "text/plain": lambda: joined(plain_text.blocks(path)),
        "text/markdown": lambda: joined(markdown_text.blocks(path)),
        "text/html": lambda: joined(html_text.blocks(path)),
        "application/pdf": lambda: joined(pdf_text.blocks(path, bounds.pages, bounds.characters)),
        "docx": lambda: joined(docx_text.blocks(path)),
    }
    document = readers[content_type]()
    if len(document.text) > bounds.characters:
        raise too_long("characters", bounds.characters)
    return document


def too_long(what: str, most: int) -> DocumentUnfit:
    """It has too much of something."""
    return DocumentUnfit("document_too_long", f"A document has at most {most} {what}: divide it.")


def _prepared(chunk: Chunk, scope: str) -> PreparedChunk:
    weights = term_weights(scope, terms_of(chunk.searched))
    return PreparedChunk(chunk, term_list(weights), sparse(weights))
