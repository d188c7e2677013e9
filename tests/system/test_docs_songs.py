"""The guides to songs and to the creator: their examples work as typed."""

import json
import shutil
from pathlib import Path

import av
import pytest

from tests.support.page_examples import SHELL, Reader, blocks
from tests.support.sonant import Sonant

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")


@needs_curl
def test_songs_are_added_imported_and_found(sonant: Sonant, tmp_path: Path) -> None:
    add, imported, search = blocks("songs.md", "sh")
    reader = Reader.at(tmp_path, sonant)
    assert json.loads(reader.types(SHELL, add))["kind"] == "song"
    told = reader.types(SHELL, imported)
    assert '"imported": 1' in told
    assert "Machine Garden" in told
    assert json.loads(reader.types(SHELL, search))["object"] == "song.matches"


@needs_curl
def test_a_film_is_made_and_saved_with_its_captions(sonant: Sonant, tmp_path: Path) -> None:
    command, asked = blocks("creator.md", "sh")
    reader = Reader.at(tmp_path, sonant)
    small = command.replace(" -o ", " --model local -o ")
    assert "kite.mp4" in reader.types(SHELL, small)
    assert (tmp_path / "kite.vtt").read_text().startswith("WEBVTT")
    with av.open(str(tmp_path / "kite.mp4")) as film:
        assert [stream.type for stream in film.streams] == ["video", "audio", "subtitle"]
    assert json.loads(reader.types(SHELL, asked))["kind"] == "creation"
