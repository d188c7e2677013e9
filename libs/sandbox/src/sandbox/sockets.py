"""Ending a connection the way a broken peer does."""

import socket
import struct

from aiohttp import web

# Close with unsent data discarded: the peer gets a TCP RST rather than a FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def abort(request: web.Request) -> None:
    """Close the connection with a TCP reset."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
