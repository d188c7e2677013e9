"""The guide to documents and search: its example works as typed."""

from pathlib import Path

from tests.support.page_examples import SHELL, Reader, blocks
from tests.support.sonant import Sonant


def test_a_document_is_added_and_found(sonant: Sonant, text_models: Path, tmp_path: Path) -> None:
    fetch, example = blocks("retrieval.md", "sh")
    assert "models fetch all-minilm-l6-v2 minilm-l4-reranker" in fetch
    told = Reader.at(tmp_path, sonant).types(SHELL, example)
    assert "version 1, 1 chunks" in told
    assert "1. lamp.md: Lamp > Warranty" in told
    assert "thirty months" in told
