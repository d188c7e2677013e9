"""Which addresses may be called where somebody else names them: public ones, and what the operator allows."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from common.failures import Refused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Networks or single addresses, separated by commas. Raises ValueError, which names what is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


# All that the IANA IPv4 Special-Purpose Address Registry (RFC 6890) lists, whether reachable or not: none of it is the
# place of a web server. Spelled out, because what the standard library takes for global differs between its versions.
SPECIAL_V4 = networks(
    "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.0.2.0/24,"
    "192.31.196.0/24, 192.52.193.0/24, 192.88.99.0/24, 192.168.0.0/16, 192.175.48.0/24, 198.18.0.0/15,"
    "198.51.100.0/24, 203.0.113.0/24, 240.0.0.0/4,"
    # Multicast has a registry of its own.
    "224.0.0.0/4,"
    # Public by its number, and yet Azure's metadata and health service inside every machine there.
    "168.63.129.16/32"
)
# IANA has given out no other block of IPv6 for hosts. Outside it are loopback, private, link-local, multicast and all
# forms that carry an IPv4 address, of which one is looked at more closely.
GLOBAL_V6 = IPv6Network("2000::/3")
# What the IPv6 registry lists inside that block, with Teredo in the first and 6to4 in the third.
SPECIAL_V6 = networks("2001::/23, 2001:db8::/32, 2002::/16, 2620:4f:8000::/48, 3fff::/20")
# Behind it a gateway calls the IPv4 address in the last 32 bits (RFC 6052). Networks without IPv4 reach the rest of
# the world this way.
NAT64 = IPv6Network("64:ff9b::/96")

# Below this a port is one of the system's services; of these, two are the web.
WEB_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
# Where above it something else is expected that would make sense of a request or its body. First what browsers refuse
# ("bad port" of the Fetch standard), then stores, brokers and consoles.
OTHER_PORTS = frozenset(
    {
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080),
        *(1433, 1521, 3306, 5432, 5984, 9042, 27017, 27018, 27019),  # SQL Server, Oracle, MySQL, PostgreSQL to MongoDB
        *(6379, 6380, 16379, 11211, 9200, 9300, 2181, 9092),  # Redis, memcached, Elasticsearch, ZooKeeper, Kafka
        *(2375, 2376, 2379, 2380, 6443, 10250, 10255, 3389),  # Docker, etcd, Kubernetes, remote desktops
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """What may be called beside, or instead of, public addresses; `refuse` goes before `allow`.

    `allow` is for an operator's own networks. `refuse` is for what is internal there and has a public number, as
    networks of IPv6 often do. `ports` are the only ones; by default 80, 443 and from 1024 all but `OTHER_PORTS`.
    """

    allow: tuple[Network, ...] = ()
    refuse: tuple[Network, ...] = ()
    ports: frozenset[int] | None = None

    def permit_port(self, port: int) -> bool:
        """Whether this port may be called."""
        if self.ports is not None:
            return port in self.ports
        return port in WEB_PORTS if port < FIRST_FREE_PORT else port not in OTHER_PORTS

    def permit(self, address: Address) -> bool:
        """Whether a connection to this address may be made."""
        carried = _carried(address)
        if _within(address, self.refuse) or (carried and _within(carried, self.refuse)):
            return False
        return _within(address, self.allow) or is_public(carried or address)

    def check(self, address: str) -> None:
        """Raises `Refused` (400, `url_not_allowed`) unless a connection to this address may be made."""
        try:
            permitted = self.permit(ip_address(address))
        except ValueError:
            permitted = False
        if not permitted:
            raise not_allowed("It leads to an address that may not be called.")


def is_public(address: Address) -> bool:
    """Whether the address is one that hosts of the public internet have."""
    # The last is for ranges that a newer Python knows to be special and the lists above do not.
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return not _within(address, SPECIAL_V4)
    return address in GLOBAL_V6 and not _within(address, SPECIAL_V6)


def not_allowed(reason: str) -> Refused:
    """The refusal of a URL; the reason does not say what a name resolved to."""
    return Refused(400, f"The URL cannot be called. {reason}", "url_not_allowed")


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address that a gateway would call."""
    if isinstance(address, IPv6Address) and address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _within(address: Address, ranges: Iterable[Network]) -> bool:
    return any(address in each for each in ranges)
