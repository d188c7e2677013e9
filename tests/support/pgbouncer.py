"""PgBouncer in transaction mode before a PostgreSQL of the tests, by TLS; fetched from Debian where it is not there."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests.support.sonant import free_port
from tests.support.waiting import eventually

INSTALL_SECONDS = 300
# Fewer than the connections of one service: sessions are shared from the first moment.
SERVER_CONNECTIONS = 4
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = scram-sha-256
auth_file = {home}/users.txt
pool_mode = transaction
default_pool_size = {size}
unix_socket_dir =
client_tls_sslmode = require
client_tls_key_file = {home}/server.key
client_tls_cert_file = {home}/server.pem
"""


def program() -> str:
    """Where it is; installed on the way where the system's packages can be had, else a reasoned skip."""
    found = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin")
    if found:
        return found
    apt = shutil.which("apt-get")
    if apt and os.geteuid() == 0:
        command = [apt, "install", "--yes", "--no-install-recommends", "pgbouncer"]
        subprocess.run(command, capture_output=True, timeout=INSTALL_SECONDS, check=False)
        found = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin")
    if not found:
        pytest.skip("no PgBouncer: it is not installed, and cannot be (Debian's package pgbouncer)")
    return found


@asynccontextmanager
async def pooled(postgres_url: str) -> AsyncIterator[str]:
    """The address of the same database through the pooler, with a certificate that is to be verified."""
    binary, server, port = program(), urlsplit(postgres_url), free_port()
    # Not below pytest's own directory, which other accounts may not enter.
    with tempfile.TemporaryDirectory(prefix="sonant-pgbouncer-") as directory:
        home = Path(directory)
        authority = _files(home, f'"{server.username}" "{server.password}"\n')
        text = CONFIGURATION.format(server_port=server.port, port=port, home=home, size=SERVER_CONNECTIONS)
        (home / "pgbouncer.ini").write_text(text)
        with (home / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                binary, *_account(home), str(home / "pgbouncer.ini"), stdout=log, stderr=log
            )
        try:
            await eventually(lambda: _listens(port), timeout=30)
            login = f"{server.username}:{server.password}"
            yield f"postgresql://{login}@localhost:{port}{server.path}?sslmode=verify-full&sslrootcert={authority}"
        finally:
            process.terminate()
            await process.wait()


def _files(home: Path, users: str) -> Path:
    """The users and the certificate; returns the authority that signed it."""
    authority, path = trustme.CA(), home / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    pair = authority.issue_cert("localhost")
    pair.private_key_pem.write_to_path(str(home / "server.key"))
    pair.cert_chain_pems[0].write_to_path(str(home / "server.pem"))
    (home / "users.txt").write_text(users)
    return path


def _account(home: Path) -> list[str]:
    """It refuses to run as root."""
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    for path in (home, *home.iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return ["-u", "nobody"]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
