"""`sonant documents` and `sonant search`: documents taken in, listed and taken away, and passages found in them."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

from sonant_cli.errors import CliError
from sonant_cli.gateway import Gateway, KeyOption, UrlOption, locate
from sonant_cli.keys import describe_moment
from sonant_cli.state import DataDir
from sonant_cli.whole_table import show as show_table

PATH = "/v1/documents"
ENDED = ("completed", "failed", "cancelled")
LOOK_SECONDS = 0.5
PAGE = 100
SHOWN_CHARACTERS = 300

documents = typer.Typer(no_args_is_help=True, help="Take documents in, list them, take them away.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
ProjectOption = Annotated[str, typer.Option("--project", help="The project that the documents belong to.")]
CollectionOption = Annotated[str, typer.Option("--collection", help="The collection that they stand in.")]


def _gateway(url: str | None, key: str | None) -> Gateway:
    return locate(url, key, DataDir.from_environment())


@documents.command()
def add(
    sources: Annotated[list[str], typer.Argument(help="Files, or addresses that begin with http.")],
    *,
    name: Annotated[str | None, typer.Option(help="What the document is called; by default as its file.")] = None,
    collection: CollectionOption = "default",
    project: ProjectOption = "default",
    wait: Annotated[bool, typer.Option(help="Wait until all of them are found.")] = True,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Take documents in: text, Markdown, HTML, PDF or DOCX. One of the same name is a new version."""
    if name is not None and len(sources) > 1:
        raise CliError("--name is for one document; these are several")
    gateway, where = _gateway(url, key), {"collection": collection, "project_id": project}
    begun = {source: _begin(gateway, source, name, where) for source in sources}
    failed = 0
    for source, job in begun.items():
        ended = _awaited(gateway, job) if wait else job
        failed += ended["state"] in ("failed", "cancelled")
        typer.echo(_line(source, ended))
    if failed:
        raise CliError(f"{failed} of {len(begun)} documents could not be taken in")


def _begin(gateway: Gateway, source: str, name: str | None, where: Mapping[str, str]) -> dict[str, Any]:
    if source.startswith(("http://", "https://")):
        body = {"url": source, **where, **({"name": name} if name else {})}
        job: dict[str, Any] = gateway.call("POST", PATH, json=body)
        return job
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CliError(f"{source} cannot be read: {error.strerror}") from None
    headers = {"content-type": "application/octet-stream"}
    asked = {"name": name or path.name, **where}
    accepted: dict[str, Any] = gateway.call("POST", PATH, params=asked, content=data, headers=headers)
    return accepted


def _awaited(gateway: Gateway, job: Mapping[str, Any]) -> Mapping[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(str(job["input"]["name"]), total=100.0)
        while job["state"] not in ENDED:
            time.sleep(LOOK_SECONDS)
            job = gateway.call("GET", f"/v1/jobs/{job['id']}")
            progress.update(bar, completed=job["percent"])
    return job


def _line(source: str, job: Mapping[str, Any]) -> str:
    if job["state"] == "completed":
        result = job["result"]
        how = "unchanged" if result["unchanged"] else f"version {result['version']}"
        return f"{source}: {result['document_id']}, {how}, {result['chunks']} chunks"
    if job.get("error"):
        return f"{source}: {job['error']['message']}"
    return f"{source}: {job['input']['document_id']}, {job['state']} as {job['id']}"


@documents.command("list")
def list_documents(
    *,
    collection: Annotated[str | None, typer.Option(help="Only this collection.")] = None,
    project: ProjectOption = "default",
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List documents, newest first."""
    query = {"project_id": project, **({"collection": collection} if collection else {})}
    found = list(_pages(_gateway(url, key), query, limit))
    if as_json:
        typer.echo(json.dumps(found))
        return
    width = max((len(document["id"]) for document in found), default=2)
    id_column = Column("id", no_wrap=True, min_width=width)
    table = Table(id_column, "name", "collection", "version", "chunks", "changed", box=None)
    for each in found:
        cells = (each["id"], each["name"], each["collection"], str(each["version"]), str(each["chunks"]))
        table.add_row(*cells, describe_moment(each["updated_at"]))
    show_table(table)


def _pages(gateway: Gateway, query: Mapping[str, str], limit: int) -> Iterator[Mapping[str, Any]]:
    after: dict[str, str] = {}
    while limit > 0:
        page = gateway.call("GET", PATH, params={**query, **after, "limit": min(limit, PAGE)})
        yield from page["data"]
        limit -= len(page["data"])
        if not page["has_more"]:
            return
        after = {"after": page["data"][-1]["id"]}


@documents.command()
def rm(
    ids: Annotated[list[str], typer.Argument(help="The ids of documents, as `sonant documents list` shows them.")],
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Take documents away, with all that is searched of them."""
    gateway = _gateway(url, key)
    for id in ids:
        gateway.call("DELETE", f"{PATH}/{id}")
        typer.echo(f"{id} is gone.")


def search(
    query: Annotated[str, typer.Argument(help="The question.")],
    *,
    k: Annotated[int, typer.Option("-k", min=1, max=50, help="How many passages.")] = 5,
    mode: Annotated[str, typer.Option(help="lexical, vector, fused or reranked.")] = "reranked",
    collection: Annotated[list[str] | None, typer.Option(help="Only these collections.")] = None,
    project: ProjectOption = "default",
    explain: Annotated[bool, typer.Option(help="Say what was looked for, and what each stage says.")] = False,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Find passages of documents."""
    body = {"query": query, "k": k, "mode": mode, "project_id": project, "explain": explain}
    found = _gateway(url, key).call("POST", "/v1/search", json={**body, "collections": collection or []})
    if as_json:
        typer.echo(json.dumps(found))
        return
    for number, passage in enumerate(found["data"], 1):
        page = f", page {passage['page']}" if passage.get("page") else ""
        heading = f": {passage['heading']}" if passage["heading"] else ""
        typer.secho(f"{number}. {passage['document']}{page}{heading}", bold=True)
        if explain:
            said = {name: value for name, value in passage["scores"].items() if value is not None}
            typer.echo("   " + ", ".join(f"{name} {value:.3f}" for name, value in said.items()))
        typer.echo("   " + " ".join(passage["text"].split())[:SHOWN_CHARACTERS])
    if not found["data"]:
        typer.echo("Nothing was found.")
    if explain:
        typer.echo(json.dumps({"seconds": found["seconds"], **found["explanation"]}))
