"""Files over HTTP: uploaded, downloaded whole and in parts, linked to, deleted, and nobody else's."""

import hashlib
import io
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from pathlib import Path

import httpx
import pytest

from tests.support.clients import CLIENT_SECONDS, Key, new_key
from tests.support.sonant import Sonant

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(range(256)) * 40
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
# A body, headers and query, and the status and code that refuse them.
Refusal = tuple[bytes, dict[str, str], dict[str, str], int, str | None]
HTML = b"<!DOCTYPE html><script>alert(1)</script>"


@pytest.fixture
def http(sonant: Sonant) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sonant.url, timeout=CLIENT_SECONDS) as client:
        yield client


@pytest.fixture
def key(sonant: Sonant) -> Key:
    return new_key(sonant, scopes=["media"])


def upload(http: httpx.Client, key: Key, data: bytes, **params: str) -> dict[str, object]:
    answer = http.post("/v1/assets", content=data, headers=key.headers, params=params)
    assert answer.status_code == 201, answer.text
    asset: dict[str, object] = answer.json()
    return asset


def objects_of(sonant: Sonant, key: Key) -> list[Path]:
    """The files of an organisation in the object store."""
    return [
        path for path in (sonant.data_dir / "objects").rglob("*") if path.is_file() and key.organization in str(path)
    ]


class TestUpload:
    def test_what_comes_back_is_what_was_sent(self, http: httpx.Client, key: Key, sonant: Sonant) -> None:
        asset = upload(http, key, WAV, name="../../a voice.wav")
        assert asset["content_type"] == "audio/wav"
        assert asset["size"] == len(WAV)
        assert asset["sha256"] == hashlib.sha256(WAV).hexdigest()
        assert asset["name"] == "a voice.wav"
        answer = http.get(str(asset["url"]), headers=key.headers)
        assert answer.content == WAV
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith('inline; filename="a voice.wav"')
        assert answer.headers["accept-ranges"] == "bytes"
        [file] = objects_of(sonant, key)
        assert file.name == asset["id"]

    def test_a_form_is_taken_with_its_fields_before_and_behind(self, http: httpx.Client, key: Key) -> None:
        files = [("file", ("Grüße.wav", io.BytesIO(WAV), "text/html"))]
        answer = http.post("/v1/assets", files=files, data={"expires_in": "60"}, headers=key.headers)
        assert answer.status_code == 201, answer.text
        asset = answer.json()
        assert asset["content_type"] == "audio/wav"
        assert asset["name"] == "Grüße.wav"
        assert 50 < asset["expires_at"] - asset["created_at"] <= 60.1
        given = http.get(asset["url"], headers=key.headers).headers["content-disposition"]
        assert "filename*=UTF-8''Gr%C3%BC%C3%9Fe.wav" in given

    @pytest.mark.parametrize("claimed", ["image/png", "text/html", "audio/wav; charset=x"])
    def test_what_a_file_is_said_to_be_counts_for_nothing(self, http: httpx.Client, key: Key, claimed: str) -> None:
        answer = http.post("/v1/assets", content=HTML, headers={**key.headers, "content-type": claimed})
        asset = answer.json()
        assert asset["content_type"] == "application/octet-stream"
        shown = http.get(asset["url"], headers=key.headers)
        assert shown.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in shown.headers["content-security-policy"]

    def test_a_large_file_passes_in_pieces(self, http: httpx.Client, key: Key) -> None:
        data = bytes(range(256)) * 1024 * 80

        def slowly() -> Iterator[bytes]:
            for at in range(0, len(data), 1024 * 1024):
                yield data[at : at + 1024 * 1024]

        answer = http.post("/v1/assets", content=slowly(), headers=key.headers)
        assert answer.status_code == 201, answer.text
        assert http.get(answer.json()["url"], headers=key.headers).content == data

    def test_a_repetition_gets_the_first_answer_and_leaves_no_second_file(
        self, http: httpx.Client, key: Key, sonant: Sonant
    ) -> None:
        headers = {**key.headers, "Idempotency-Key": uuid.uuid4().hex}
        first, second = (http.post("/v1/assets", content=WAV, headers=headers) for _ in range(2))
        assert second.json() == first.json()
        assert second.headers["idempotency-replayed"] == "true"
        other = http.post("/v1/assets", content=PNG, headers=headers)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
        assert len(objects_of(sonant, key)) == 1

    @pytest.mark.parametrize(
        "request_and_answer",
        [
            (b"", {}, {}, 400, "empty_file"),
            (WAV, {"content-encoding": "br"}, {}, 415, "unsupported_encoding"),
            (b"no gzip at all", {"content-encoding": "gzip"}, {}, 400, "invalid_body"),
            (WAV, {"content-type": "multipart/form-data"}, {}, 400, "invalid_body"),
            (WAV, {"content-type": "multipart/mixed; boundary=x"}, {}, 415, "unsupported_media_type"),
            (b"--x\r\n\r\n", {"content-type": "multipart/form-data; boundary=x"}, {}, 400, None),
            (b"x" * 100_000, {"content-type": "multipart/form-data; boundary=x"}, {}, 400, None),
            (WAV, {}, {"expires_in": "0"}, 400, "invalid_value"),
            (WAV, {}, {"expires_in": "soon"}, 400, "invalid_value"),
            (WAV, {}, {"nme": "x"}, 400, "unknown_parameter"),
            (WAV, {}, {"name": "x" * 1001}, 400, "invalid_value"),
        ],
    )
    def test_what_cannot_be_taken_leaves_nothing(
        self, http: httpx.Client, key: Key, sonant: Sonant, request_and_answer: Refusal
    ) -> None:
        body, headers, params, status, code = request_and_answer
        answer = http.post("/v1/assets", content=body, headers={**key.headers, **headers}, params=params)
        assert answer.status_code == status, answer.text
        assert code in (None, answer.json()["error"]["code"])
        assert objects_of(sonant, key) == []

    def test_a_form_has_one_file_and_no_odd_fields(self, http: httpx.Client, key: Key, sonant: Sonant) -> None:
        two = [("file", ("a", WAV)), ("file", ("b", WAV))]
        odd = [("file", ("a", WAV)), ("other", (None, "x"))]
        late = [("file", ("a", WAV)), ("expires_in", (None, "x" * 2000))]
        none = [("name", (None, "x"))]
        for files in (two, odd, late, none):
            answer = http.post("/v1/assets", files=files, headers=key.headers)  # type: ignore[arg-type]
            assert answer.status_code == 400, answer.text
        assert objects_of(sonant, key) == []

    def test_whoever_leaves_in_the_middle_leaves_nothing(self, http: httpx.Client, key: Key, sonant: Sonant) -> None:
        def broken() -> Iterator[bytes]:
            yield bytes(9 * 1024 * 1024)
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            http.post("/v1/assets", content=broken(), headers=key.headers)
        deadline = time.monotonic() + 10
        while objects_of(sonant, key) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert objects_of(sonant, key) == []


class TestDownload:
    @pytest.mark.parametrize(
        ("asked", "begin", "end"),
        [("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=-5", len(WAV) - 5, len(WAV)), ("bytes=100-", 100, None)],
    )
    def test_a_part(self, http: httpx.Client, key: Key, asked: str, begin: int, end: int | None) -> None:
        asset = upload(http, key, WAV)
        answer = http.get(str(asset["url"]), headers={**key.headers, "range": asked})
        assert answer.status_code == 206
        assert answer.content == WAV[begin:end]
        assert answer.headers["content-range"] == f"bytes {begin}-{(end or len(WAV)) - 1}/{len(WAV)}"

    def test_several_parts(self, http: httpx.Client, key: Key) -> None:
        asset = upload(http, key, WAV)
        answer = http.get(str(asset["url"]), headers={**key.headers, "range": "bytes=0-3, 8-11,-2"})
        assert answer.status_code == 206
        assert int(answer.headers["content-length"]) == len(answer.content)
        head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + answer.content).get_payload()
        assert [part.get_payload(decode=True) for part in parts] == [b"RIFF", b"WAVE", WAV[-2:]]  # type: ignore[union-attr]
        ranges = [part["content-range"] for part in parts]  # type: ignore[index]
        assert ranges[1] == f"bytes 8-11/{len(WAV)}"

    def test_none_of_the_bytes(self, http: httpx.Client, key: Key) -> None:
        asset = upload(http, key, WAV)
        answer = http.get(str(asset["url"]), headers={**key.headers, "range": f"bytes={len(WAV)}-"})
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{len(WAV)}"
        assert answer.json()["error"]["code"] == "range_not_satisfiable"

    def test_whoever_has_it_gets_nothing_again(self, http: httpx.Client, key: Key) -> None:
        asset = upload(http, key, WAV)
        etag = http.get(str(asset["url"]), headers=key.headers).headers["etag"]
        for known in (etag, f'"other", W/{etag}', "*"):
            answer = http.get(str(asset["url"]), headers={**key.headers, "if-none-match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
        assert http.get(str(asset["url"]), headers={**key.headers, "if-none-match": '"x"'}).content == WAV
        part = {**key.headers, "range": "bytes=0-3"}
        assert http.get(str(asset["url"]), headers={**part, "if-range": etag}).content == b"RIFF"
        assert http.get(str(asset["url"]), headers={**part, "if-range": '"x"'}).content == WAV

    def test_the_head_alone(self, http: httpx.Client, key: Key) -> None:
        asset = upload(http, key, WAV)
        answer = http.head(str(asset["url"]), headers=key.headers)
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(WAV)
        assert answer.headers["content-type"] == "audio/wav"
        # The connection is still good for the next request.
        assert http.get(str(asset["url"]), headers=key.headers).content == WAV

    @pytest.mark.parametrize("id", ["ast_" + "0" * 32, "ast_x", "..", "%00", "a" * 500, "ast_%2e%2e%2f"])
    def test_what_is_not_there(self, http: httpx.Client, key: Key, id: str) -> None:
        for method, path in (("GET", ""), ("HEAD", ""), ("GET", "/info"), ("DELETE", ""), ("POST", "/link")):
            answer = http.request(method, f"/v1/assets/{id}{path}", headers=key.headers)
            assert answer.status_code in (404, 405), (method, path, answer.text)


class TestLinks:
    def link(self, http: httpx.Client, key: Key, asset: dict[str, object], **body: object) -> str:
        answer = http.post(f"{asset['url']}/link", json=body, headers=key.headers)
        assert answer.status_code == 200, answer.text
        url: str = answer.json()["url"]
        return url

    def test_a_link_works_without_a_key(self, http: httpx.Client, key: Key) -> None:
        asset = upload(http, key, PNG, name="x.png")
        answer = http.get(self.link(http, key, asset))
        assert (answer.status_code, answer.content) == (200, PNG)
        assert answer.headers["content-disposition"].startswith("inline")
        saved = http.get(self.link(http, key, asset, download=True), headers={"range": "bytes=1-3"})
        assert (saved.status_code, saved.content) == (206, b"PNG")
        assert saved.headers["content-disposition"].startswith("attachment")

    def test_it_works_for_nothing_else(self, http: httpx.Client, key: Key) -> None:
        asset, other = upload(http, key, PNG), upload(http, key, WAV)
        url = self.link(http, key, asset)
        changes = [
            (str(asset["id"]), str(other["id"])),
            ("expires=", "expires=9"),
            (f"organization={key.organization}", "organization=another"),
            ("signature=", "download=true&signature="),
        ]
        for old, new in changes:
            answer = http.get(url.replace(old, new))
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_signature"), new
        assert http.get(f"{asset['url']}/content").status_code == 400
        assert http.get(str(asset["url"])).status_code == 401

    def test_it_ends_with_its_time_and_with_the_asset(self, http: httpx.Client, key: Key) -> None:
        asset = upload(http, key, PNG)
        brief, long = self.link(http, key, asset, expires_in=1), self.link(http, key, asset)
        deadline = time.monotonic() + 10
        while (answer := http.get(brief)).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "link_expired")
        assert http.delete(str(asset["url"]), headers=key.headers).json()["deleted"] is True
        assert http.get(long).status_code == 404


class TestOwnership:
    def test_nobody_else_sees_or_deletes_it(self, http: httpx.Client, key: Key, sonant: Sonant) -> None:
        asset = upload(http, key, WAV)
        stranger = new_key(sonant, scopes=["media"])
        for method, path in (("GET", ""), ("HEAD", ""), ("GET", "/info"), ("DELETE", ""), ("POST", "/link")):
            answer = http.request(method, f"{asset['url']}{path}", headers=stranger.headers)
            assert answer.status_code == 404, (method, path)
        assert http.get("/v1/assets", headers=stranger.headers).json()["data"] == []
        assert http.get(str(asset["url"]), headers=key.headers).content == WAV
        chatter = new_key(sonant, key.organization)
        assert http.get(str(asset["url"]), headers=chatter.headers).status_code == 403

    def test_a_deleted_asset_is_gone_with_its_bytes(self, http: httpx.Client, key: Key, sonant: Sonant) -> None:
        asset = upload(http, key, WAV)
        assert http.delete(str(asset["url"]), headers=key.headers).status_code == 200
        assert http.get(str(asset["url"]), headers=key.headers).status_code == 404
        assert http.delete(str(asset["url"]), headers=key.headers).status_code == 404
        assert objects_of(sonant, key) == []

    def test_pages_name_every_asset_once(self, http: httpx.Client, key: Key) -> None:
        with ThreadPoolExecutor(4) as pool:
            made = {asset["id"] for asset in pool.map(lambda _: upload(http, key, WAV), range(7))}
        seen: list[str] = []
        more, after = True, dict[str, str]()
        while more:
            page = http.get("/v1/assets", params={"limit": 3, **after}, headers=key.headers).json()
            seen += [asset["id"] for asset in page["data"]]
            more, after = page["has_more"], {"after": seen[-1]}
        assert len(seen) == 7
        assert set(seen) == made
        assert http.get("/v1/assets", params={"kind": "video"}, headers=key.headers).json()["data"] == []
