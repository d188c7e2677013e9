"""`sonant up`: run everything on this machine until a stop signal."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from common.storage.model_files import SMOLLM2
from sonant_cli import engine_check, operator_variables
from sonant_cli.errors import EnginesError, SettingsError
from sonant_cli.logfile import follow
from sonant_cli.loopback import Ports
from sonant_cli.model_fetch import path_of
from sonant_cli.state import DataDir
from sonant_cli.supervisor import StartError, Supervisor
from sonant_cli.table import Table, build, check_own

FALSE_WORDS = {"", "0", "false", "no", "off"}


def up(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the logs of all processes.")] = False,
    local_model: Annotated[
        bool, typer.Option("--local-model", help="Answer with a small model on this machine, without any key.")
    ] = False,
) -> None:
    """Start the engines and every service on this machine, and keep them running until Ctrl-C."""
    data = DataDir.from_environment()
    for line in operator_variables.unknown(os.environ):
        typer.echo(f"warning: {line}", err=True)
    check_own(os.environ)
    if refused := operator_variables.refused(os.environ):
        raise SettingsError("; ".join(refused))
    model = path_of(SMOLLM2) if local_model else None
    data.create()
    with data.lock(), Ports() as ports:
        table = build(data, os.environ, ports, model)
        show_logs = verbose or os.environ.get("SONANT_LOG_STDOUT", "").lower() not in FALSE_WORDS
        asyncio.run(_await_engines_of_others())
        try:
            asyncio.run(_run(data, table, show_logs))
        except StartError as error:
            # A service that waits for its engine is not to blame.
            if found := asyncio.run(engine_check.findings(os.environ)):
                raise EnginesError("; ".join(finding.text for finding in found)) from error
            raise


async def _await_engines_of_others() -> None:
    """Look at the engines that are given by URL once; those that only have to start yet are waited for by the services.

    Raises:
        EnginesError: one answers and cannot be used.
    """
    found = await engine_check.findings(os.environ)
    if lasting := [finding.text for finding in found if finding.lasting]:
        raise EnginesError("; ".join(lasting))
    for finding in found:
        typer.echo(f"waiting: {finding.text}", err=True)


async def _run(data: DataDir, table: Table, show_logs: bool) -> None:
    logs = {spec.name: data.logs / f"{spec.name}.log" for stage in table.stages for spec in stage}
    with _starting() as (progress, ready):

        def on_ready() -> None:
            ready()
            announce(table, data)

        supervisor = Supervisor(
            data=data,
            url=table.url,
            urls=table.urls,
            stages=table.stages,
            on_ready=on_ready,
            progress=progress,
            drain_budget=table.drain_budget,
        )
        shown = asyncio.create_task(follow(logs if show_logs else {}, _show_line))
        try:
            await supervisor.run()
        finally:
            shown.cancel()
            with suppress(asyncio.CancelledError):
                await shown


@contextmanager
def _starting() -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """Progress as lines, with a spinner on a terminal until ready: `(show a line, stop the spinner)`."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        yield console.print, lambda: None
        return
    with console.status("starting ...") as spinner:
        yield console.print, spinner.stop


def announce(table: Table, data: DataDir) -> None:
    """Say that all is ready, what answers from the sandbox and where the first key is."""
    typer.echo(f"sonant ready on {table.url}")
    if table.sandboxed:
        variables = ", ".join(dict.fromkeys(table.sandboxed.values()))
        typer.echo(f"on the sandbox: {', '.join(table.sandboxed)} (for the real ones set {variables})")
    typer.echo(f"admin key: {_short(data.admin_key)}   logs: {_short(data.logs)}   end with Ctrl-C")


def _short(path: Path) -> Path:
    """The path as a user in the current directory would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _show_line(name: str, line: str) -> None:
    # Where it goes may be full; the line stands in the log.
    with suppress(OSError):
        typer.echo(f"{name:<10} | {line}")
