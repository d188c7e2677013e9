"""The parts of assets that need no engine: byte ranges, links, names, headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.assets import file_name
from common.failures import Refused
from gateway.assets.byte_ranges import MAX_RANGES, ByteRange, wanted_ranges
from gateway.assets.download import content_disposition
from gateway.assets.signed_links import Link, SignedLinks

OLD, NEW = "o" * 32, "n" * 32
LINK = Link("acme", "ast_" + "0" * 32, 2_000)


class TestRanges:
    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("bytes=0-0", [(0, 1)]),
            ("bytes=2-", [(2, 10)]),
            ("bytes=-3", [(7, 10)]),
            ("bytes=-99", [(0, 10)]),
            ("bytes=5-99", [(5, 10)]),
            ("Bytes = 1-2 , 4-5", [(1, 3), (4, 6)]),
            ("bytes=0-1,,20-30", [(0, 2)]),
            ("bytes=10-", []),
            ("bytes=-0", []),
        ],
    )
    def test_what_is_asked_for(self, header: str, expected: list[tuple[int, int]]) -> None:
        assert wanted_ranges(header, 10) == [ByteRange(start, end) for start, end in expected]

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=3-1",
            "bytes=1",
            "bytes=0x1-2",
            "bytes=--1",
            "items=0-1",
            "bytes=0-9,0-9",
            "bytes=" + "9" * 19 + "-",
            "bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)),
            "bytes=" + "0-0," * 100_000,
        ],
    )
    def test_what_is_not_understood_is_not_there(self, header: str | None) -> None:
        assert wanted_ranges(header, 10) is None

    @given(st.text(alphabet="bytes=0123456789-, ", max_size=60), st.integers(0, 50))
    def test_no_part_leaves_the_file(self, header: str, size: int) -> None:
        for part in wanted_ranges(header, size) or []:
            assert 0 <= part.start < part.end <= size

    def test_an_empty_file_has_no_parts(self) -> None:
        assert wanted_ranges("bytes=0-", 0) == []


class TestLinks:
    def check(self, links: SignedLinks, path: str, link: Link, now: float = 1_000) -> None:
        links.check(link, path.rpartition("signature=")[2], now)

    def test_a_link_works_until_it_expires(self) -> None:
        links = SignedLinks([NEW])
        path = links.path(LINK)
        self.check(links, path, LINK, now=1_999.9)
        with pytest.raises(Refused) as refused:
            self.check(links, path, LINK, now=2_000)
        assert (refused.value.status, refused.value.code) == (401, "link_expired")

    @pytest.mark.parametrize(
        "other",
        [
            Link("acme-2", LINK.asset_id, LINK.expires),
            Link(LINK.org_id, "ast_" + "1" * 32, LINK.expires),
            Link(LINK.org_id, LINK.asset_id, LINK.expires + 1),
            Link(LINK.org_id, LINK.asset_id, LINK.expires, download=True),
        ],
    )
    def test_it_is_for_this_asset_and_time_alone(self, other: Link) -> None:
        links = SignedLinks([NEW])
        with pytest.raises(Refused) as refused:
            self.check(links, links.path(LINK), other)
        assert refused.value.code == "invalid_signature"

    def test_it_survives_a_rotation_while_the_old_key_is_kept(self) -> None:
        path = SignedLinks([OLD]).path(LINK)
        self.check(SignedLinks([NEW, OLD]), path, LINK)
        with pytest.raises(Refused):
            self.check(SignedLinks([NEW]), path, LINK)

    @pytest.mark.parametrize("signature", ["", "é" * 64, "A" * 64, "0" * 64, "0" * 1000])
    def test_what_is_no_signature_is_wrong(self, signature: str) -> None:
        with pytest.raises(Refused) as refused:
            SignedLinks([NEW]).check(LINK, signature, 0)
        assert refused.value.code == "invalid_signature"

    def test_without_a_key_there_are_none(self) -> None:
        with pytest.raises(Refused) as refused:
            SignedLinks([]).path(LINK)
        assert (refused.value.status, refused.value.code) == (503, "unconfigured")
        with pytest.raises(Refused):
            SignedLinks([]).check(LINK, "0" * 64, 0)


class TestNames:
    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("a.wav", "a.wav"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\a.wav", "a.wav"),
            ("..", ""),
            ("/", ""),
            ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
            ("a\x00b\x7f.mp3", "ab.mp3"),
            ("rechts\u202egpj.exe", "rechtsgpj.exe"),
            ("\ud800a", "a"),
            ("grüße 音.mp3", "grüße 音.mp3"),
            ("x" * 5000, "x" * 200),
        ],
    )
    def test_a_name_is_only_a_name(self, given: str, shown: str) -> None:
        assert file_name(given) == shown

    @given(st.text(max_size=300))
    def test_whatever_a_file_is_called_the_header_is_one_line_of_ascii(self, name: str) -> None:
        header = content_disposition("attachment", file_name(name))
        assert header.isascii()
        assert header.isprintable()
        assert header.count('"') == 2
