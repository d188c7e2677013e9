"""What documents and search work with."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from media.ports import Downloads
from media.retrieval.preparation import TextBounds
from media.retrieval_ports import BatchRows, DocumentRows, Encoder, StoreRows
from media.search.passage_search import PassageSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDesk:
    """`encoders` gives those whose vectors a new chunk needs; `tokenizer` names the model that counts tokens."""

    rows: DocumentRows
    stores: StoreRows
    batches: BatchRows
    search: PassageSearch
    encoders: Callable[[], Awaitable[Sequence[Encoder]]]
    downloads: Downloads
    models: Path
    tokenizer: str | None
    bounds: TextBounds
