"""Loopback ports that a supervisor keeps for its processes, so that nobody takes one before or between their starts."""

import errno
import random
import socket
import sys
from types import TracebackType

from sonant_cli.errors import CliError
from sonant_cli.probes import HOST

# Below the range from which the kernel takes ports for outgoing connections.
_RANGE = range(20_000, 32_000)
# Only Linux lets a server listen on a port that another socket merely holds. Elsewhere a port is free when chosen.
_CAN_HOLD = sys.platform == "linux"


class PortError(CliError):
    """A port cannot be listened on."""


class PortTakenError(PortError):
    """Another program has the port."""


class Ports:
    """Ports held until the block is left. A held port is a bound socket that does not listen.

    A server that sets SO_REUSEADDR, as ours and the engines do, may listen beside it. The kernel gives the port to
    nobody else: neither to an outgoing connection, nor to whoever asks for a free one, nor to another `Ports`.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> "Ports":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._held:
            self._held.pop().close()

    def hold(self, port: int) -> int:
        """Keep this port, also where connections of an earlier server linger on it.

        Raises:
            PortTakenError: another program listens on it.
            PortError: this account may not listen on it, or it cannot be had for another reason.
        """
        try:
            return self._keep(port, alone=True)
        except PortTakenError:
            return self._keep(port, alone=False)

    def free(self) -> int:
        """Keep a port that nobody has."""
        while True:
            try:
                return self._keep(random.choice(_RANGE), alone=True)
            except PortTakenError:
                continue

    def _keep(self, port: int, *, alone: bool) -> int:
        """Bind without SO_REUSEADDR to be `alone` on the port; the option set afterwards lets a server in."""
        holder = socket.socket()
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, not alone)
            holder.bind((HOST, port))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except PermissionError as error:
            holder.close()
            raise PortError(f"port {port} is for root alone on this machine; choose one from 1024 on") from error
        except OSError as error:
            holder.close()
            if error.errno != errno.EADDRINUSE:
                raise PortError(f"port {port} cannot be had: {error.strerror}") from error
            raise PortTakenError(f"port {port} is taken by another program; choose another") from error
        if _CAN_HOLD:
            self._held.append(holder)
        else:
            holder.close()
        return port


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nobody has now; whoever is to keep them holds `Ports` instead."""
    with Ports() as ports:
        return sorted(ports.free() for _ in range(count))
