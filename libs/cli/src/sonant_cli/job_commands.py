"""`sonant jobs`: jobs listed, shown, watched with a progress bar, ended and begun anew, through the gateway."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from sonant_cli.errors import CliError
from sonant_cli.gateway import Gateway, KeyOption, UrlOption, describe_error, locate
from sonant_cli.keys import describe_moment
from sonant_cli.state import DataDir
from sonant_cli.whole_table import show as show_table

if TYPE_CHECKING:
    import httpx

PATH = "/v1/jobs"
ENDED = ("completed", "failed", "cancelled")
# A stream that breaks off is taken up behind its last event.
AGAIN_SECONDS = 1.0
MAX_BREAKS = 60
PAGE = 100

jobs = typer.Typer(no_args_is_help=True, help="List, show, watch, end and retry jobs.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
JobId = Annotated[str, typer.Argument(help="The id of the job, as `sonant jobs list` shows it.")]


def _gateway(url: str | None, key: str | None) -> Gateway:
    return locate(url, key, DataDir.from_environment())


@jobs.command("list")
def list_jobs(
    *,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as video.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only this state: queued, running, completed, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List jobs, newest first."""
    query = {name: value for name, value in (("kind", kind), ("state", state)) if value is not None}
    found = list(_pages(_gateway(url, key), query, limit))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show_table(_table(found))


def _pages(gateway: Gateway, query: Mapping[str, str], limit: int) -> Iterator[Mapping[str, Any]]:
    after: dict[str, str] = {}
    while limit > 0:
        page = gateway.call("GET", PATH, params={**query, **after, "limit": min(limit, PAGE)})
        yield from page["data"]
        limit -= len(page["data"])
        if not page["has_more"]:
            return
        after = {"after": page["data"][-1]["id"]}


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    # Ids are copied into other commands: they are shown whole on the narrowest terminal.
    width = max((len(job["id"]) for job in found), default=2)
    table = Table(Column("id", no_wrap=True, min_width=width), "kind", "state", "done", "created", box=None)
    for job in found:
        cells = (job["id"], job["kind"], job["state"], f"{job['percent']:.0f} %")
        table.add_row(*cells, describe_moment(job["created_at"]))
    return table


@jobs.command()
def show(job_id: JobId, as_json: JsonOption = False, url: UrlOption = None, key: KeyOption = None) -> None:
    """Show a job: its steps, its attempts, what came of it."""
    job = _gateway(url, key).call("GET", f"{PATH}/{job_id}")
    if as_json:
        typer.echo(json.dumps(job))
        return
    typer.echo(f"{job['id']}  {job['kind']}  {job['state']}  {job['percent']:.0f} %")
    for name, moment in (("created", "created_at"), ("started", "started_at"), ("ended", "finished_at")):
        if job.get(moment) is not None:
            typer.echo(f"{name:9} {describe_moment(job[moment])}")
    for step in job["steps"]:
        typer.echo(f"step      {step['name']}: {step['state']}")
    for attempt in job["attempts"]:
        typer.echo(f"attempt   {describe_attempt(attempt)}")
    typer.echo(f"cost      {job['cost_usd']:.4f} USD")
    if job.get("error"):
        typer.echo(f"error     {job['error']['message']} ({job['error'].get('code')})")
    for name, value in (job.get("result") or {}).items():
        typer.echo(f"result    {name}: {value}")


def describe_attempt(attempt: Mapping[str, Any]) -> str:
    """One line for one attempt."""
    seconds = (
        "" if attempt.get("finished_at") is None else f" in {attempt['finished_at'] - attempt['started_at']:.1f} s"
    )
    why = f": {attempt['error']['message']}" if attempt.get("error") else ""
    return f"{attempt['provider']} {attempt['operation']}, {attempt['outcome']}{seconds}{why}"


@jobs.command()
def watch(job_id: JobId, url: UrlOption = None, key: KeyOption = None) -> None:
    """Watch a job until it ends; exits with 1 where it does not end well."""
    typer.echo(json.dumps(ended_job(_gateway(url, key), job_id)["result"]))


def ended_job(gateway: Gateway, job_id: str) -> Mapping[str, Any]:
    """The job once it is done, with a progress bar until then. Raises CliError where it does not end well."""
    last: Mapping[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("waiting", total=100.0)
        for name, data in _events(gateway, job_id):
            last = data
            shown = data.get("step") or name
            progress.update(bar, description=f"{shown:10}", completed=100.0 if name == "completed" else data["percent"])
    job: Mapping[str, Any] = last.get("job") or gateway.call("GET", f"{PATH}/{job_id}")
    if job["state"] != "completed":
        error = job.get("error") or {"message": job["state"]}
        raise CliError(f"the job {job['state']}: {error['message']}")
    return job


def _events(gateway: Gateway, job_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The events of a job up to its end, over as many connections as it takes."""
    import httpx

    after, breaks = "", 0
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {gateway.key}"}, timeout=30.0) as client:
        while breaks <= MAX_BREAKS:
            for id, name, data in _stream(client, job_id, after):
                after, breaks = id, 0
                yield name, data
                if name in ENDED:
                    return
            breaks += 1
            time.sleep(AGAIN_SECONDS)
    raise CliError(f"the events of {job_id} do not come any more")


def _stream(client: "httpx.Client", job_id: str, after: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The events of one connection; it may break off."""
    import httpx

    with contextlib.suppress(httpx.TransportError):
        yield from _received(client, job_id, after)


def _received(client: "httpx.Client", job_id: str, after: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    headers = {"last-event-id": after} if after else {}
    with client.stream("GET", f"{PATH}/{job_id}/events", headers=headers) as answer:
        if answer.is_error:
            answer.read()
            if answer.status_code < 500:
                raise CliError(describe_error(answer.status_code, answer.text))
            return
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}


@jobs.command()
def cancel(job_id: JobId, as_json: JsonOption = False, url: UrlOption = None, key: KeyOption = None) -> None:
    """End a job."""
    _changed(_gateway(url, key).call("POST", f"{PATH}/{job_id}/cancel"), as_json)


@jobs.command()
def retry(job_id: JobId, as_json: JsonOption = False, url: UrlOption = None, key: KeyOption = None) -> None:
    """Begin a job anew that failed or was cancelled."""
    _changed(_gateway(url, key).call("POST", f"{PATH}/{job_id}/retry"), as_json)


def _changed(job: Mapping[str, Any], as_json: bool) -> None:
    ending = ", about to end" if job.get("cancel_requested") and job["state"] not in ENDED else ""
    typer.echo(json.dumps(job) if as_json else f"{job['id']} {job['state']}{ending}")
