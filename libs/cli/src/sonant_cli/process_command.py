"""`sonant process`: a file is analysed, and its report is written beside it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from sonant_cli.errors import CliError
from sonant_cli.gateway import Gateway, KeyOption, UrlOption, describe_error, locate
from sonant_cli.job_commands import ended_job
from sonant_cli.state import DataDir

# Of a large file on a slow line.
UPLOAD_SECONDS = 3600.0
CHUNK_BYTES = 256 * 1024


def process(
    file: Annotated[Path, typer.Argument(help="A video, an image or a sound.", exists=True, dir_okay=False)],
    *,
    project: Annotated[str, typer.Option(help="What is found is compared with what is in this project.")] = "default",
    title: Annotated[str, typer.Option(help="What to call it; the name of the file by default.")] = "",
    steps: Annotated[str, typer.Option(help="Comma list of steps, such as shots,faces; all by default.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write the page with pictures to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole analysis as JSON.")] = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Find shots, faces, looks and sound in a file, and what is alike in its project."""
    gateway = locate(url, key, DataDir.from_environment())
    query = {"name": file.name, "project": project, "title": title or file.name, "steps": steps}
    job = _sent(gateway, file, query)
    result = ended_job(gateway, job["id"])["result"]
    if report is not None:
        _write(gateway, result["report_url"], report)
    if as_json:
        typer.echo(json.dumps(gateway.call("GET", result["url"])))
    else:
        _tell(result, report)


def _sent(gateway: Gateway, file: Path, query: dict[str, str]) -> dict[str, Any]:
    """The job about the file. Raises CliError."""
    # Loading httpx takes a quarter of a second, which commands without a request need not pay.
    import httpx

    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/octet-stream"}
    try:
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=UPLOAD_SECONDS) as client:
            answer = client.post("/v1/media/process", params=query, content=_chunks(file))
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise CliError(f"no answer from {gateway.url} ({error}): is `sonant up` running?") from None
    if answer.is_error:
        raise CliError(describe_error(answer.status_code, answer.text))
    accepted: dict[str, Any] = answer.json()
    return accepted


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def _write(gateway: Gateway, path: str, report: Path) -> None:
    import httpx

    part = report.with_name(f".{report.name}.part")
    headers = {"authorization": f"Bearer {gateway.key}"}
    try:
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=UPLOAD_SECONDS) as client:
            answer = client.get(path)
        if answer.is_error:
            raise CliError(describe_error(answer.status_code, answer.text))
        part.write_bytes(answer.content)
        part.replace(report)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise CliError(f"the report did not come from {gateway.url} ({error})") from None
    except OSError as error:
        raise CliError(f"{report} cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _tell(result: dict[str, Any], report: Path | None) -> None:
    for name, value in result["metadata"].items():
        typer.echo(f"{name}: {value}")
    if result["media"] == "video":
        typer.echo(f"shots: {result['shots']}")
    if result["media"] != "audio":
        typer.echo(f"faces: {result['faces']}")
    for name, value in {**result["quality"], **result["sound"]}.items():
        typer.echo(f"{name}: {value}")
    for cluster in result["clusters"]:
        typer.echo(f"like others: {cluster['label']} ({cluster['kind']}, {cluster['size']} in the project)")
    for name, step in result["steps"].items():
        if step["state"] != "done":
            typer.echo(f"left out: {name}: {step['reason']}")
    for warning in result["warnings"]:
        typer.echo(f"note: {warning}")
    typer.echo(f"analysis: {result['analysis_id']}")
    if report is not None:
        typer.echo(f"report: {report}")
