"""Catalogues of songs: CSV and JSON lines, odd rows, and files that are none."""

from pathlib import Path

import pytest

from common.events.songs import DIMENSIONS, SongFacts
from media.adapters.hashed_texts import hashed
from media.measurement.media_error import MediaError
from media.song_vectors.song_embedding import SHARE, TEXT_SIZE, as_floats, embedding
from media.songs.catalogue_rows import CataloguePart, format_of, read_part
from media.songs.song_text import song_text

CSV = """id,Name,artists,genre,year,BPM,key,mode,popularity
1,Blue Harbour,Oona Vale,folk|indie folk,1994-05-01,82.5,C,minor,7
2,,,,,,,,
3,Odd,Nobody,,not a year,,,,
4,"Comma, Inc.",Marlow,,,,H,,
5,Last,Marlow,"jazz, bop",2001,,,,
"""


def part(folder: Path, text: str, format: str = "", skip: int = 0, count: int = 100) -> CataloguePart:
    path = folder / "catalogue"
    path.write_text(text)
    return read_part(path, format or format_of(path), skip, count)


def test_rows_of_a_csv_are_songs_or_say_why_not(tmp_path: Path) -> None:
    found = part(tmp_path, CSV)
    assert [row.facts.title for row in found.rows] == ["Blue Harbour", "Last"]
    first = found.rows[0].facts
    assert first == SongFacts(
        title="Blue Harbour",
        artist="Oona Vale",
        genres=("folk", "indie folk"),
        year=1994,
        tempo=82.5,
        key="C",
        mode="minor",
        external_id="1",
    )
    assert found.rows[1].facts.genres == ("jazz", "bop")
    assert [row.line for row in found.refused] == [3, 4, 5]
    assert found.count == 5
    assert not found.more


def test_a_catalogue_is_read_part_by_part(tmp_path: Path) -> None:
    text = "".join(f'{{"title": "Song {number}"}}\n' for number in range(7))
    parts = [part(tmp_path, text, skip=skip, count=3) for skip in (0, 3, 6)]
    assert [[row.facts.title for row in each.rows] for each in parts] == [
        ["Song 0", "Song 1", "Song 2"],
        ["Song 3", "Song 4", "Song 5"],
        ["Song 6"],
    ]
    assert [each.more for each in parts] == [True, True, False]


def test_json_lines_may_be_odd(tmp_path: Path) -> None:
    text = '{"name": "A", "artists": ["X", "Y"], "id": 12}\n\nno json\n[1]\n{"title": {"a": 1}}\n' + "[" * 9000 + "\n"
    found = part(tmp_path, text, "jsonl")
    [row] = found.rows
    assert (row.facts.artist, row.facts.external_id) == ("X, Y", "12")
    assert [each.line for each in found.refused] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe\x00a", b"a,b\n1,2\n", b'title\n"open', b"{" + b"x" * 70_000],
    ids=["bytes", "head", "quote", "line"],
)
def test_what_is_no_catalogue_says_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "catalogue"
    path.write_bytes(data)
    with pytest.raises(MediaError):
        read_part(path, format_of(path), 0, 10)


def product(first: bytes, second: bytes) -> float:
    return sum(a * b for a, b in zip(as_floats(first), as_floats(second), strict=True))


def test_a_vector_has_a_part_for_words_and_one_for_sound() -> None:
    [words] = hashed(["blue harbour by oona vale"])
    whole, text_alone, sound_alone = embedding(words, [1.0, 2.0]), embedding(words, None), embedding(None, [1.0, 2.0])
    assert len(as_floats(whole)) == DIMENSIONS
    assert product(whole, whole) == pytest.approx(1.0, abs=1e-5)
    assert product(whole, text_alone) == pytest.approx(SHARE**2, abs=1e-5)
    assert product(text_alone, sound_alone) == 0.0
    assert not any(as_floats(embedding(None, None)))
    assert not any(as_floats(text_alone)[TEXT_SIZE:])


def test_texts_that_share_words_are_near() -> None:
    near, same_words, other = hashed(["Blue Harbour by Oona Vale. folk", "oona vale harbour", "Machine Garden. techno"])
    assert product(near, same_words) > 0.4 > product(near, other)
    assert not any(as_floats(hashed([""])[0]))


def test_a_song_in_words_says_what_people_ask_for() -> None:
    facts = SongFacts(title="Rain", artist="Ada", year=1994, tempo=72, key="D", mode="minor", genres=("folk",))
    assert song_text(facts, -25.0) == "Rain by Ada. folk. 1994, 1990s. slow, 72 bpm. D minor. quiet"
    assert song_text(SongFacts()) == ""
