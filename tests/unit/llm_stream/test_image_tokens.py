"""Images cost what OpenAI's guide says that they cost, as far as their size can be told."""

import base64
import struct

import pytest

from llm_stream.context.image_tokens import Patches, Tiles, image_url_of, prices_of, size_of


def data(head: bytes) -> str:
    return "data:image/any;base64," + base64.b64encode(head).decode()


def png(width: int, height: int) -> str:
    return data(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x06\0\0\0")


def jpeg(width: int, height: int, before: int = 16, marker: int = 0xC2) -> str:
    segment = b"\xff\xe1" + struct.pack(">H", before) + b"\0" * (before - 2)
    table = b"\xff\xc4" + struct.pack(">H", 4) + b"\0\0"
    frame = bytes([0xFF, marker]) + struct.pack(">HBHH", 17, 8, height, width) + b"\3" * 10
    return data(b"\xff\xd8" + segment + table + frame)


def webp(kind: bytes, rest: bytes) -> str:
    return data(b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + rest)


@pytest.mark.parametrize(
    ("url", "size"),
    [
        (png(640, 480), (640, 480)),
        (jpeg(1000, 20), (1000, 20)),
        # Behind a preview, which a camera puts before it.
        (jpeg(4000, 3000, before=60_000, marker=0xC0), (4000, 3000)),
        (jpeg(4000, 3000, before=65_535), None),
        (data(b"GIF89a" + struct.pack("<HH", 7, 9)), (7, 9)),
        (webp(b"VP8 ", b"\0" * 3 + b"\x9d\x01\x2a" + struct.pack("<HH", 320, 200)), (320, 200)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", (99 << 14) | 299)), (300, 100)),
        (webp(b"VP8X", b"\0" * 4 + (1919).to_bytes(3, "little") + (1079).to_bytes(3, "little")), (1920, 1080)),
        (webp(b"ALPH", b""), None),
        (png(0, 5), None),
        (data(b"\x89PNG\r\n\x1a\n"), None),
        (data(b"\xff\xd8\xff"), None),
        (data(b"%PDF"), None),
        ("data:image/png;base64,%%%", None),
        ("data:image/png,raw", None),
        ("https://example.com/cat.png", None),
        ("", None),
    ],
)
def test_the_head_of_an_image_tells_its_size(url: str, size: tuple[int, int] | None) -> None:
    assert size_of(url) == size


@pytest.mark.parametrize(
    ("model", "url", "detail", "tokens"),
    [
        # The examples of the guide.
        ("gpt-4o", png(1024, 1024), "high", 765),
        ("gpt-4o", png(2048, 4096), "high", 1105),
        ("gpt-4o", png(4096, 8192), "low", 85),
        ("gpt-4.1-mini", png(1024, 1024), "auto", 1659),
        ("gpt-4o-mini", png(512, 512), "auto", 2_833 + 5_667),
        ("gpt-5.2", png(512, 512), "auto", 70 + 140),
        ("gpt-5-nano", png(4000, 4000), "auto", 3779),
        ("o3", png(100, 3000), "auto", 75 + 4 * 150),
        ("llama-4-scout", png(1, 1), "auto", 85 + 170),
    ],
)
def test_an_image_of_known_size_is_counted_by_the_tables(model: str, url: str, detail: str, tokens: int) -> None:
    assert prices_of(model).tokens(url, detail) == (tokens, True)


def test_an_alias_of_several_models_counts_by_the_dearest() -> None:
    assert prices_of("gpt-4o", "gpt-4o-mini", "llama") == prices_of("gpt-4o-mini")


@pytest.mark.parametrize("prices", [Tiles(85, 170), Patches(1.62)])
def test_an_image_of_unknown_size_counts_as_the_largest(prices: Tiles | Patches) -> None:
    tokens, known = prices.tokens("https://example.com/cat.png", "high")
    assert not known
    sizes = [(32, 32), (512, 512), (768, 768), (2048, 768), (768, 2048), (4096, 4096), (5000, 1900), (8000, 100)]
    assert tokens == max(prices.tokens(png(*size), "high")[0] for size in sizes)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({"type": "image_url", "image_url": {"url": "u", "detail": "low"}}, ("u", "low")),
        ({"type": "input_image", "image_url": "u", "detail": "low"}, ("u", "low")),
        ({"type": "image_url", "image_url": {"url": 7}}, ("", "auto")),
        ({"type": "image_url"}, ("", "auto")),
        ({"type": "image_url", "image_url": None, "detail": 7}, ("", "auto")),
    ],
)
def test_an_image_part_has_the_shape_of_either_api(part: dict[str, object], found: tuple[str, str]) -> None:
    assert image_url_of(part) == found
