"""`sonant check`: settings, files, the port and the engines, looked at without starting anything."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

import typer

from sonant_cli import engine_check, operator_variables
from sonant_cli.errors import CliError, EnginesError, SettingsError
from sonant_cli.loopback import Ports
from sonant_cli.state import DataDir
from sonant_cli.table import SERVICES, Service, check_own, filled, held_gateway_port

# Seconds for one service to read its settings; a busy machine takes its time to load Python.
SERVICE_SECONDS = 120.0


def check() -> None:
    """Look at settings, models file, data directory, port and engines. Starts nothing; exits with 78 or 69."""
    for line in operator_variables.unknown(os.environ):
        typer.echo(f"warning: {line}", err=True)
    data = DataDir.from_environment()
    wrong = asyncio.run(_wrong(data))
    for line in wrong:
        typer.echo(line, err=True)
    if wrong:
        # Engines are asked with the settings, so those have to be right first.
        raise typer.Exit(SettingsError.exit_code)
    away = asyncio.run(engine_check.findings(os.environ))
    for finding in away:
        typer.echo(finding.text, err=True)
    if away:
        raise typer.Exit(EnginesError.exit_code)
    typer.echo("all is well: settings, files, data directory, port, and the engines that are given by URL")


async def _wrong(data: DataDir) -> Sequence[str]:
    """A line for each thing that another start would meet again."""
    found = [data.complaint()]
    looks: Sequence[Callable[[], None]] = (partial(check_own, os.environ), partial(_port, data))
    for look in looks:
        try:
            look()
        except CliError as error:
            found.append(str(error))
    told = {line.partition(":")[0] for line in found}
    for service in SERVICES:
        found += [line for line in await _of_service(service) if line.partition(":")[0] not in told]
    return list(dict.fromkeys(line for line in found if line))


def _port(data: DataDir) -> None:
    """Raise where the gateway's port cannot be had; our own gateway may have it."""
    if data.is_running():
        typer.echo(f"sonant runs with the data directory {data.root}, so its port is not tried")
        return
    with Ports() as ports:
        held_gateway_port(os.environ, ports)


async def _of_service(service: Service) -> Sequence[str]:
    """What the service says of its settings, in a process of its own; one that is not installed here says nothing."""
    if not operator_variables.is_installed(service.module):
        return []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", service.module, "--check"),
        env=filled(os.environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), SERVICE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return [f"{service.name}: did not look at its settings within {SERVICE_SECONDS:g} s"]
    if process.returncode == os.EX_OK:
        return []
    lines = said.decode(errors="replace").splitlines()
    if process.returncode == os.EX_CONFIG:
        return lines
    last = lines[-1] if lines else f"exit code {process.returncode}"
    return [f"{service.name}: cannot look at its settings: {last}"]
