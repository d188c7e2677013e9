"""The URLs that may be called where somebody else names them, before anything is resolved."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from yarl import URL

from common.providers.addresses import AddressRules, not_allowed

# What servers commonly take; signed addresses of objects come to half of it.
MAX_URL = 8192
MAX_NAME = 253
# A name or an address, and a port; nothing else is read by all parsers in the same way.
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?)(:[0-9]{0,5})?", re.IGNORECASE)
# A name that ends like this would be read as an IPv4 address by some (WHATWG URL, "ends in a number").
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def allowed_url(text: str, rules: AddressRules) -> URL:
    """The URL, as it will be called. Raises `Refused` (400, `url_not_allowed`).

    The one who checks and the one who connects see the same parts: the host is that of the URL returned, and no other
    parser looks at the text.
    """
    url = _parsed(text)
    if url.scheme not in {"http", "https"}:
        raise not_allowed("It must begin with http:// or https://.")
    if "@" in url.raw_authority:
        raise not_allowed("It must not contain a user or a password.")
    if not AUTHORITY.fullmatch(url.raw_authority) or not _is_host(url.raw_host or ""):
        raise not_allowed("Its host is neither a name nor an address in the usual form.")
    if not rules.permit_port(url.port or 0):
        raise not_allowed("Its port may not be called.")
    return url


def _parsed(text: str) -> URL:
    if len(text) > MAX_URL:
        raise not_allowed(f"It is longer than {MAX_URL} characters.")
    # Parsers drop these, or take a backslash for a slash, and disagree about what is left.
    if not text.isprintable() or " " in text or "\\" in text:
        raise not_allowed("It contains a character that must be encoded.")
    try:
        # As it is, where that can be sent: signatures often cover the very spelling.
        url = URL(text, encoded=text.isascii())
        # The parser reads the authority only when a part of it is used.
        _ = url.raw_host, url.port
    except ValueError:
        raise not_allowed("It is not a URL.") from None
    return url


def _is_host(host: str) -> bool:
    try:
        if ":" in host:
            return IPv6Address(host).scope_id is None
        if NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            # Only four decimal numbers: 0177.1, 2130706433 and 0x7f000001 mean different things to different readers.
            IPv4Address(host)
    except AddressValueError:
        return False
    return 0 < len(host) <= MAX_NAME
