"""The rows of a catalogue: CSV with a header, or JSON lines. Reads a part at a time, in worker processes.

Columns and fields are those of a song; `id` and `name` stand for `external_id` and `title`, and several genres or tags
in one column are separated by `;`, `|` or `,`. Other columns are passed over.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.events.songs import RefusedRow, SongFacts
from media.measurement.media_error import MediaError

MAX_LINE = 64 * 1024
ALIASES = {
    "id": "external_id",
    "name": "title",
    "track_name": "title",
    "artists": "artist",
    "artist_name": "artist",
    "album_name": "album",
    "genre": "genres",
    "tag": "tags",
    "bpm": "tempo",
}
LISTS = ("genres", "tags")
NUMBERS = ("year", "tempo")
FIELDS = frozenset(SongFacts.model_fields)
SEPARATORS = str.maketrans("|,", ";;")


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """A row that is a song; `line` counts from 1."""

    line: int
    facts: SongFacts


@dataclass(frozen=True, slots=True)
class CataloguePart:
    """Some rows of a catalogue, and how many there were with those that were refused; `more` may follow."""

    rows: list[CatalogueRow]
    refused: list[RefusedRow]
    count: int
    more: bool


def format_of(path: Path) -> str:
    """`jsonl` for a file whose first letter is a brace, else `csv`."""
    with path.open("rb") as file:
        return "jsonl" if file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" else "csv"


def read_part(path: Path, format: str, skip: int, count: int) -> CataloguePart:
    """The rows behind the first `skip`, at most `count`. Raises MediaError for what is no such file."""
    rows, refused, seen = list[CatalogueRow](), list[RefusedRow](), 0
    for line, given in itertools.islice(_given(path, format), skip, skip + count):
        seen += 1
        if isinstance(given, str):
            refused.append(RefusedRow(line=line, reason=given))
            continue
        try:
            rows.append(CatalogueRow(line, _facts(given)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            refused.append(RefusedRow(line=line, reason=f"{where}: {first['msg']}"[:200]))
        except ValueError as error:
            refused.append(RefusedRow(line=line, reason=str(error)[:200]))
    return CataloguePart(rows, refused, seen, more=seen == count)


Given = Iterator[tuple[int, Mapping[str, Any] | str]]


def _given(path: Path, format: str) -> Given:
    """Each row with its line, as it stands there; a text says why one cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (_json_rows(file) if format == "jsonl" else _csv_rows(file))
    except UnicodeDecodeError:
        raise MediaError("catalogue_unreadable", "The catalogue is not text in UTF-8.") from None
    except csv.Error as error:
        raise MediaError("catalogue_unreadable", f"The catalogue is no CSV: {error}.") from None


def _json_rows(file: Any) -> Given:
    line = 0
    while text := file.readline(MAX_LINE):
        line += 1
        if len(text) >= MAX_LINE and not text.endswith("\n"):
            message = f"Line {line} of the catalogue has more than {MAX_LINE} characters."
            raise MediaError("catalogue_unreadable", message)
        if text.strip():
            yield line, _json_row(text)


def _json_row(text: str) -> Mapping[str, Any] | str:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return "it is no JSON"
    return row if isinstance(row, dict) else "it is no JSON object"


def _csv_rows(file: Any) -> Given:
    csv.field_size_limit(MAX_LINE)
    reader = csv.DictReader(file, restkey="", strict=True)
    names = {_name(name) for name in reader.fieldnames or ()}
    if not names & {"title", "artist"}:
        message = "The first line of the catalogue names neither a column 'title' nor 'artist'."
        raise MediaError("catalogue_unreadable", message)
    for row in reader:
        yield reader.line_num, row


def _name(column: str | None) -> str:
    plain = str(column or "").strip().lower().replace(" ", "_")
    return ALIASES.get(plain, plain)


def _facts(given: Mapping[str, Any]) -> SongFacts:
    found = dict[str, Any]()
    for column, value in given.items():
        name = _name(column)
        value = value.strip() if isinstance(value, str) else value
        if name not in FIELDS or value in ("", None, []):
            continue
        found[name] = _value(name, value)
    facts = SongFacts.model_validate(found)
    if not facts.title and not facts.artist:
        raise ValueError("it has neither title nor artist")
    return facts


def _value(name: str, value: Any) -> Any:
    if name in LISTS and isinstance(value, str):
        return tuple(part.strip() for part in value.translate(SEPARATORS).split(";") if part.strip())
    if name == "artist" and isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if name in NUMBERS and isinstance(value, str):
        return float(value) if name == "tempo" else int(value[:4])
    return str(value) if name == "external_id" else value
