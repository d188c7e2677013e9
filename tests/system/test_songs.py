"""Songs over HTTP: added from metadata, sound and Spotify; imported, found, filtered, drawn and forgotten."""

import io

import pytest
from PIL import Image

from tests.support.clients import Key, client, new_key
from tests.support.sonant import Sonant
from tests.support.songs import CATALOGUE, as_json_lines, asset, ended, found, result, titles
from tests.support.synth_music import RATE, as_file, cover_of, played, random_song

SPOTIFY = "4uLU6hMCjMI75M1A2tKUQC"
PATH = "/v1/songs"


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


async def test_a_catalogue_is_imported_searched_and_drawn(sonant: Sonant, key: Key) -> None:
    rows = [*CATALOGUE, {"artist": ""}, {"title": "Odd", "year": 12}]
    async with client(sonant.url, key.headers) as caller:
        file = await asset(caller, as_json_lines(rows) + b"not json\n", "songs.jsonl")
        imported = await result(caller, f"{PATH}/import", {"asset_id": file})
        assert (imported["rows"], imported["imported"], imported["refused"]) == (8, 5, 3)
        assert [row["line"] for row in imported["refused_rows"]] == [6, 7, 8]
        again = await result(caller, f"{PATH}/import", {"asset_id": file})
        assert again["imported"] == 5
        page = (await caller.get(PATH, params={"limit": 3})).json()
        assert len(page["data"]) == 3
        assert page["has_more"]
        rest = (await caller.get(PATH, params={"after": page["data"][-1]["id"]})).json()["data"]
        assert len(rest) == 2
        by_text = await found(caller, text="harbour by oona vale")
        assert set(titles(by_text)[:2]) == {"Blue Harbour", "Harbour at Night"}
        own = by_text[0]["song"]["id"]
        near = await found(caller, song_id=own, limit=4)
        assert own not in [match["song"]["id"] for match in near]
        assert titles(near)[0] in ("Blue Harbour", "Harbour at Night")
        fast = await found(caller, text="garden", filter={"genre": "Techno", "tempo_from": 135})
        assert titles(fast) == ["Steel Garden"]
        assert await found(caller, text="garden", filter={"artist": "nobody"}) == []
        drawn = await result(caller, f"{PATH}/map", {"width": 400, "height": 300})
        picture = await caller.get(drawn["url"])
        assert Image.open(io.BytesIO(picture.content)).size == (400, 300)
        points = (await caller.get(drawn["points_url"])).json()
        assert {point["title"] for point in points} == {row["title"] for row in CATALOGUE}
        gone = await caller.delete(f"{PATH}/{own}")
        assert gone.json() == {"id": own, "object": "song", "deleted": True}
        assert (await caller.get(f"{PATH}/{own}")).status_code == 404
        assert own not in [match["song"]["id"] for match in await found(caller, text="harbour by oona vale")]
    told = sonant.ops("media", "/metrics").text
    for name in (
        'sonant_song_rows_total{outcome="refused"}',
        'sonant_song_searches_total{by="song",outcome="hit"}',
        'sonant_song_searches_total{by="text",outcome="miss"}',
        'sonant_song_search_seconds_count{by="text"}',
        'sonant_song_vectors_total{change="added"}',
        "sonant_song_index_seconds_count",
    ):
        assert f"\n{name} " in told, name


async def test_a_song_is_heard_and_its_cover_and_excerpt_find_it(sonant: Sonant, key: Key) -> None:
    song, stranger = random_song(1), random_song(2)
    samples = played(song)
    async with client(sonant.url, key.headers) as caller:
        made = {}
        for name, data in (("song", as_file(samples)), ("stranger", as_file(played(stranger), "MP3"))):
            file = await asset(caller, data)
            made[name] = await result(caller, PATH, {"title": name, "asset_id": file})
        heard = made["song"]["song"]
        assert heard["heard"]
        assert abs(heard["tempo"] - song.bpm) / song.bpm < 0.04
        assert (heard["key"], heard["mode"]) == (song.key, song.mode)
        assert -40 < heard["loudness"] < -5
        middle = len(samples) // 4
        for sound in (samples[middle : middle + 15 * RATE], played(cover_of(song, 3))):
            matches = await found(caller, asset_id=await asset(caller, as_file(sound, "FLAC")))
            assert titles(matches)[0] == "song", matches


async def test_a_song_comes_from_spotify(sonant: Sonant, key: Key) -> None:
    async with client(sonant.url, key.headers) as caller:
        url = f"https://open.spotify.com/track/{SPOTIFY}?si=x"
        made = await result(caller, PATH, {"spotify_id": url, "tags": ["Mine"]})
        song = made["song"]
        assert made["sources"] == ["sandbox"]
        assert (song["spotify_id"], song["tags"]) == (SPOTIFY, ["mine"])
        assert song["title"]
        assert song["genres"]
        assert song["tempo"] > 60
        again = await result(caller, PATH, {"spotify_id": SPOTIFY, "title": "Another Name"})
        assert again["song_id"] == made["song_id"]
        assert again["song"]["title"] == "Another Name"
        missing = await ended(caller, await caller.post(PATH, json={"spotify_id": "Missing" + "0" * 15}))
        assert (missing["state"], missing["error"]["code"]) == ("failed", "spotify_not_found")


async def test_what_is_no_song_says_why(sonant: Sonant, key: Key) -> None:
    wrong = [
        {},
        {"title": ""},
        {"title": "x" * 301},
        {"title": "a\x00b"},
        {"title": "x", "key": "H"},
        {"title": "x", "tempo": 0},
        {"title": "x", "genres": ["a"] * 21},
        {"spotify_id": "short"},
        {"asset_id": "ast_1"},
        {"title": "x", "other": 1},
    ]
    searches = [{}, {"text": ""}, {"text": "a", "song_id": "song_" + "0" * 32}, {"text": "a", "limit": 101}]
    async with client(sonant.url, key.headers) as caller:
        for body in wrong:
            assert (await caller.post(PATH, json=body)).status_code == 400, body
        for body in searches:
            assert (await caller.post(f"{PATH}/search", json=body)).status_code == 400, body
        unknown = await caller.post(f"{PATH}/search", json={"song_id": "song_" + "0" * 32})
        assert unknown.status_code == 404
        file = await asset(caller, b"hello")
        job = await ended(caller, await caller.post(PATH, json={"asset_id": file}))
        assert (job["state"], job["error"]["code"]) == ("failed", "unsupported_media_type")
        job = await ended(caller, await caller.post(f"{PATH}/import", json={"asset_id": file}))
        assert (job["state"], job["error"]["code"]) == ("failed", "catalogue_unreadable")
        few = await ended(caller, await caller.post(f"{PATH}/map"))
        assert (few["state"], few["error"]["code"]) == ("failed", "too_few_songs")


async def test_no_song_is_found_by_another_organisation(sonant: Sonant, key: Key) -> None:
    stranger = new_key(sonant, scopes=["media"])
    async with client(sonant.url, key.headers) as caller:
        made = await result(caller, PATH, {"title": "Blue Harbour", "artist": "Oona Vale"})
        file = await asset(caller, b"x")
    async with client(sonant.url, stranger.headers) as caller:
        assert (await caller.get(made["url"])).status_code == 404
        assert (await caller.delete(made["url"])).status_code == 404
        assert (await caller.get(PATH)).json()["data"] == []
        assert await found(caller, text="Blue Harbour") == []
        assert (await caller.post(f"{PATH}/search", json={"song_id": made["song_id"]})).status_code == 404
        assert (await caller.post(f"{PATH}/search", json={"asset_id": file})).status_code == 404
        job = await ended(caller, await caller.post(f"{PATH}/import", json={"asset_id": file}))
        assert job["error"]["code"] == "asset_not_found"
