"""The `sonant` command: its commands in one table, and how failures are shown."""

import sys
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from sonant_cli.chat import chat
from sonant_cli.check import check
from sonant_cli.dlq import dlq
from sonant_cli.document_commands import documents, search
from sonant_cli.errors import CliError
from sonant_cli.hume_import import imports
from sonant_cli.job_commands import jobs
from sonant_cli.keys import keys
from sonant_cli.model_fetch import models
from sonant_cli.reload import reload
from sonant_cli.session_commands import ledger, sessions
from sonant_cli.speech import say, voices
from sonant_cli.status import status
from sonant_cli.topics import topics
from sonant_cli.transfer import export, import_file
from sonant_cli.up import up


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sonant {version_of('sonant-cli')}")
        raise typer.Exit


app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run and operate Sonant.")


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Run and operate Sonant."""


app.command()(up)
app.command()(check)
app.command()(reload)
app.command()(status)
app.command()(chat)
app.command()(say)
app.command()(voices)
app.command()(topics)
app.command()(export)
app.command()(ledger)
app.command()(search)
imports.command("file")(import_file)
app.add_typer(keys, name="keys")
app.add_typer(jobs, name="jobs")
app.add_typer(documents, name="documents")
app.add_typer(models, name="models")
app.add_typer(dlq, name="dlq")
app.add_typer(sessions, name="sessions")
app.add_typer(imports, name="import")


def main() -> None:
    """Run the command line; a failure with a known cause is one line and an exit code of its kind."""
    try:
        app()
    except CliError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
