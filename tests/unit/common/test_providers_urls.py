"""The URLs that callers may name: each reads the same to everybody, or is refused before anything is resolved."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import Refused
from common.providers.addresses import AddressRules
from common.providers.urls import MAX_URL, allowed_url

RULES = AddressRules()


@pytest.mark.parametrize(
    "text",
    [
        # Other schemes, or none.
        *("ftp://example.com/", "file:///etc/passwd", "gopher://example.com:70/_", "javascript:alert(1)", "data:,x"),
        *("//example.com/", "/path", "example.com", "", "http:", "http://", "http:///path", "http:example.com"),
        # Users and passwords, and hosts that only look like one.
        *("http://user@example.com/", "http://user:word@example.com/", "http://@example.com/", "http://:@example.com"),
        *("http://example.com@127.0.0.1/", "http://127.0.0.1:80@example.com/", "http://a@b@example.com/"),
        *("http://example.com\\@127.0.0.1/", "http:\\\\127.0.0.1/", "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/"),
        # Numbers that are an address to some.
        *("http://2130706433/", "http://0x7f000001/", "http://0x7F.1/", "http://0177.0.0.1/", "http://127.1/"),
        *("http://017700000001/", "http://127.0.0.1./", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://0x/"),
        *("http://example.127/", "http://127.0.0.0x1/", "http://00000177.0.0.1/"),
        # What is dropped, decoded or mapped on the way.
        *("http://exa mple.com/", "http://exam\tple.com/", "http://example.com/\r\nX: y", "http://exam\x00ple.com/"),
        *("http://ex%61mple.com/", "http://127%2e0%2e0%2e1/", "http://exam\u00adple.com/", "http://\u200bexample.com/"),
        # IPv6 that is none, or names an interface.
        *("http://[::1/", "http://[::1]x/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[v1.x]/"),
        *("http://[::ffff:127.0.0.1.5]/", "http://::1/", "http://[1.2.3.4]/", "http://[]/"),
        # Names that are none.
        *("http://example..com/", "http://.example.com/", "http://example.com../", f"http://{'a' * 64}.com/"),
        *(f"http://{'a.' * 127}com/", "http://exam$ple.com/", "http://a,b/", "http://*/"),
        # Ports.
        *("http://example.com:0/", "http://example.com:22/", "http://example.com:6379/", "http://example.com:65536/"),
        *(
            "http://example.com:-1/",
            "http://example.com:8o/",
            "http://example.com:80:80/",
            "http://example.com:8_0/",
            "http://example.com:+80/",
        ),
        "http://example.com/" + "a" * MAX_URL,
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(Refused) as met:
        allowed_url(text, RULES)
    assert (met.value.status, met.value.code, met.value.type) == (400, "url_not_allowed", "invalid_request_error")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("https://example.com/a?b=c#d", "example.com", 443),
        ("http://example.com", "example.com", 80),
        ("HTTP://EXAMPLE.com./", "EXAMPLE.com.", 80),
        ("http://example.com:/", "example.com", 80),
        ("http://my_bucket.s3.example.com:9000/", "my_bucket.s3.example.com", 9000),
        ("http://b\u00fccher.example/\u00e4", "xn--bcher-kva.example", 80),
        ("http://93.184.216.34:8080/", "93.184.216.34", 8080),
        ("http://[2606:2800:220:1::1]/", "2606:2800:220:1::1", 80),
        ("http://0xabc.example/", "0xabc.example", 80),
        ("http://1.example/", "1.example", 80),
        # In full width and in circles these are the digits themselves, and then an address that is checked later.
        ("http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "127.0.0.1", 80),
        ("http://127\u30020\u30020\u30021/", "127.0.0.1", 80),
    ],
)
def test_what_reads_in_one_way_passes(text: str, host: str, port: int) -> None:
    url = allowed_url(text, RULES)
    assert (url.raw_host, url.port) == (host, port)


def test_a_signed_url_is_called_as_it_is_spelled() -> None:
    path = "/a%2Fb/%7Ec?X-Amz-Credential=AK%2F20260101%2Fs3&sig=a%2Bb%2F%3D&q=1+2"
    assert allowed_url("https://example.com" + path, RULES).raw_path_qs == path


@given(st.text(max_size=60).map("http://".__add__))
def test_whatever_is_written_it_is_a_url_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        url = allowed_url(text, RULES)
        assert url.scheme == "http"
        assert url.raw_host
        assert url.user is None
