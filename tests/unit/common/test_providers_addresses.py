"""Which addresses may be called where callers name them: no special one passes, in whatever form it comes."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import Refused
from common.providers.addresses import OTHER_PORTS, Address, AddressRules, networks

STRICT = AddressRules()

# Written down from the registries of IANA and from RFC 1122, 1918, 3927, 4193, 4291, 6598 and 6890, apart from the
# code: what is in one of them must not pass.
SPECIAL = [
    ipaddress.ip_network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/23"),
        *("2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "2002::/16", "3fff::/20"),
        *("5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
]
METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"]
PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "223.255.255.255"),
    *("2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "64:ff9b::808:808"),
]

special = st.sampled_from(SPECIAL).flatmap(lambda network: st.ip_addresses(network=network))
special_v4 = st.sampled_from([each for each in SPECIAL if each.version == 4]).flatmap(
    lambda network: st.ip_addresses(network=network)
)
anything: st.SearchStrategy[Address] = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def carriers(address: IPv4Address) -> list[IPv6Address]:
    """The forms in which IPv6 carries an address of IPv4."""
    number = int(address)
    return [
        IPv6Address(number),  # compatible, RFC 4291
        IPv6Address(0xFFFF << 32 | number),  # mapped, RFC 4291
        IPv6Address(0xFFFF << 48 | number),  # translated, RFC 2765
        IPv6Address((0x64FF9B << 96) | number),  # NAT64, RFC 6052
        IPv6Address((0x64FF9B0001 << 80) | number),  # NAT64 of a site, RFC 8215
        IPv6Address((0x2002 << 112) | number << 80 | 1),  # 6to4, RFC 3056
        IPv6Address((0x20010000 << 96) | number << 64 | 0xFFFF),  # Teredo, the server, RFC 4380
        IPv6Address((0x20010000 << 96) | 0x08080808 << 64 | (number ^ 0xFFFFFFFF)),  # Teredo, the client
    ]


@given(special)
def test_no_special_address_passes(address: Address) -> None:
    assert not STRICT.permit(address)


@pytest.mark.parametrize("network", SPECIAL, ids=str)
def test_the_ends_of_special_ranges_do_not_pass(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    assert not STRICT.permit(network[0])
    assert not STRICT.permit(network[-1])


@given(anything)
def test_nothing_passes_that_the_standard_library_takes_for_special(address: Address) -> None:
    known = (
        not address.is_global
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    translated = isinstance(address, IPv6Address) and address in ipaddress.ip_network("64:ff9b::/96")
    assert translated or not (known and STRICT.permit(address))


@given(special_v4)
def test_no_special_address_passes_inside_another(address: IPv4Address) -> None:
    assert [str(each) for each in carriers(address) if STRICT.permit(each)] == []


@given(st.ip_addresses(v=4))
def test_a_public_address_passes_inside_another_only_by_the_translator_of_a_network(address: IPv4Address) -> None:
    passing = {str(each) for each in carriers(address) if STRICT.permit(each)}
    assert passing == ({str(IPv6Address((0x64FF9B << 96) | int(address)))} if STRICT.permit(address) else set())


@given(st.ip_addresses(v=6))
def test_of_ipv6_only_the_block_of_hosts_passes(address: IPv6Address) -> None:
    inside = address in ipaddress.ip_network("2000::/3") or address in ipaddress.ip_network("64:ff9b::/96")
    assert inside or not STRICT.permit(address)


@pytest.mark.parametrize("address", METADATA)
def test_no_metadata_service_passes(address: str) -> None:
    with pytest.raises(Refused):
        STRICT.check(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    STRICT.check(address)


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "0x7f.0.0.1", "010.0.0.1", "1.2.3.4.5", "fe80::1%eth0"])
def test_what_is_no_address_does_not_pass(address: str) -> None:
    with pytest.raises(Refused) as met:
        STRICT.check(address)
    assert (met.value.status, met.value.code) == (400, "url_not_allowed")


def test_an_operator_lets_in_networks_of_their_own_and_nothing_else() -> None:
    rules = AddressRules(allow=networks("10.1.0.0/16, fd00:1::/32"))
    for address in ("10.1.2.3", "fd00:1::5", "8.8.8.8"):
        rules.check(address)
    for address in ("10.2.0.1", "fd00:2::5", "::ffff:10.1.2.3", "64:ff9b::a01:203", "127.0.0.1"):
        with pytest.raises(Refused):
            rules.check(address)


def test_an_operator_keeps_out_networks_with_public_numbers() -> None:
    rules = AddressRules(allow=networks("10.0.0.0/8"), refuse=networks("2a01:4f8::/32, 5.9.0.0/16, 10.9.0.0/16"))
    rules.check("10.1.0.1")
    for address in ("2a01:4f8::1", "5.9.1.1", "10.9.0.1", "64:ff9b::509:101"):
        with pytest.raises(Refused):
            rules.check(address)


def test_networks_are_read_from_a_setting() -> None:
    assert networks("") == ()
    assert [str(each) for each in networks(" 127.0.0.1, ::1/128 ,")] == ["127.0.0.1/32", "::1/128"]
    with pytest.raises(ValueError, match=r"10\.1\.0\.5/16"):
        networks("10.1.0.5/16")


def test_ports_of_other_services_do_not_pass() -> None:
    assert all(map(STRICT.permit_port, (80, 443, 3000, 8000, 8080, 8443, 9000, 65535)))
    assert not any(map(STRICT.permit_port, (0, 22, 25, 53, 110, 445, 587, *OTHER_PORTS)))
    only = AddressRules(ports=frozenset({443, 25}))
    assert [port for port in (25, 80, 443, 8080) if only.permit_port(port)] == [25, 443]
