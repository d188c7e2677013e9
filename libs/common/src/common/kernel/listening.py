"""Whether an address can be listened on, tried before anything starts: what cannot be is one line, not a traceback."""

import errno
import socket
from collections.abc import Iterator

TAKEN, FOR_ROOT = errno.EADDRINUSE, errno.EACCES


def wrong_address(host: str, port: int, *, host_variable: str, port_variable: str) -> Iterator[str]:
    """A line `SONANT_NAME: why` where `host` is no address of this machine, or its `port` cannot be had."""
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        yield f"{host_variable}: no host of this name is known; expected is an address of this machine"
        return
    results = [_bind(family, address) for family, _, _, _, address in places]
    if TAKEN in results:
        yield f"{port_variable}: port {port} is taken by another program; choose another"
    elif FOR_ROOT in results:
        yield f"{port_variable}: port {port} is for root alone on this machine; choose one from 1024 on"
    elif 0 not in results:
        yield f"{host_variable}: {host} is no address of this machine; 0.0.0.0 are all of them"


def _bind(family: socket.AddressFamily, address: object) -> int:
    """The number of the error, as a server would meet it; 0 where it would not."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trial.bind(address)  # type: ignore[arg-type] # whatever the resolver gave for this family
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0
