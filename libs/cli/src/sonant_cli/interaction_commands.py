"""`sonant interactions export`: what apps reported, written to a file on this machine."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sonant_cli.errors import CliError
from sonant_cli.gateway import Gateway, KeyOption, UrlOption, describe_error, locate
from sonant_cli.state import DataDir

if TYPE_CHECKING:
    import httpx

PATH = "/v2/exports"
ENDED = ("completed", "failed", "cancelled")
LOOK_SECONDS = 0.5
# A download may take as long as it goes on.
SILENCE_SECONDS = 60.0

interactions = typer.Typer(no_args_is_help=True, help="Export the interactions that apps reported.")


@interactions.callback()
def _group() -> None:
    """A group, though it has one command yet."""


@interactions.command("export")
def export_interactions(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    *,
    format: Annotated[
        Literal["jsonl", "csv", "parquet"] | None, typer.Option(help="By the ending of the file, if left out.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="prod or dev.")] = None,
    since: Annotated[str | None, typer.Option(help="ISO 8601 with a zone: begun then, or later.")] = None,
    until: Annotated[str | None, typer.Option(help="ISO 8601 with a zone: begun before.")] = None,
    session: Annotated[str | None, typer.Option(help="Only of this session.")] = None,
    user: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Have the interactions of an organisation written to a file, and fetch it."""
    gateway = locate(url, key, DataDir.from_environment())
    filters = {"mode": mode, "since": since, "until": until, "session_id": session, "user_id": user, "model": model}
    wanted = {"format": format or _format_of(output), **filters, "project_id": project}
    body = {name: value for name, value in wanted.items() if value is not None}
    job = _finished(gateway, gateway.call("POST", PATH, json=body))
    if job["state"] != "completed":
        error = job.get("error") or {"message": job["state"]}
        raise CliError(f"the export {job['state']}: {error['message']}")
    _fetch(gateway, job["result"]["url"], output)
    typer.echo(f"{job['result']['rows']} interactions in {output}")


def _format_of(output: Path) -> str:
    ending = output.suffix.lower().removeprefix(".")
    return ending if ending in ("csv", "parquet") else "jsonl"


def _finished(gateway: Gateway, job: dict[str, Any]) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("waiting", total=100.0)
        while job["state"] not in ENDED:
            time.sleep(LOOK_SECONDS)
            job = gateway.call("GET", f"{PATH}/{job['id']}")
            progress.update(bar, description=f"{job.get('step') or 'waiting':10}", completed=job["percent"])
    return job


def _fetch(gateway: Gateway, path: str, output: Path) -> None:
    """Write the file; whoever sees it under its name sees all of it."""
    import httpx

    partial = output.with_name(output.name + ".partial")
    headers = {"authorization": f"Bearer {gateway.key}"}
    try:
        with httpx.stream("GET", gateway.url + path, headers=headers, timeout=SILENCE_SECONDS) as answer:
            _checked(answer)
            with partial.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        partial.replace(output)
    except httpx.HTTPError as error:
        raise CliError(f"the download broke off: {error}") from None
    except OSError as error:
        raise CliError(f"{output} cannot be written: {error}") from None


def _checked(answer: "httpx.Response") -> None:
    if answer.is_error:
        answer.read()
        raise CliError(describe_error(answer.status_code, answer.text))
