"""`sonant import`: a provider's account, copied into our own catalogue."""

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant_cli.bus import with_requester
from sonant_cli.errors import CliError
from sonant_cli.gateway import describe_error

if TYPE_CHECKING:
    from common.bus.request_reply import Requester
    from common.events.resource_replies import ResourcesImported

# What a config refers to comes before it.
KINDS = ("prompt", "tool", "voice", "config")
# The service gives a page of the provider's 20 seconds.
PAGE_SECONDS = 30.0
# More pages than any account has: a provider that always has one more must not keep us for ever.
MAX_PAGES = 10_000

imports = typer.Typer(no_args_is_help=True, help="Bring resources in: an account at Hume, a project from a file.")


@dataclass
class Summary:
    """What was copied; `known` counts the resources that were here before."""

    resources: int = 0
    versions: int = 0
    known: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def add(self, page: "ResourcesImported") -> None:
        """Count a page in."""
        self.resources += page.resources
        self.versions += page.versions
        self.known += page.known
        self.skipped += [each.model_dump(exclude_unset=True) for each in page.skipped]

    def line(self) -> str:
        """The counts in words."""
        known = f", {self.known} known before" if self.known else ""
        return f"{self.resources} new with {self.versions} new versions{known}"


@imports.command()
def hume(
    org: Annotated[str, typer.Option(help="The organisation that gets the copy.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Copy prompts, tools, voices and configs with all their versions; run it again to go on or to catch up."""
    summaries = with_requester(lambda requester: _copy_all(requester, org, quiet=as_json))
    if as_json:
        typer.echo(json.dumps({kind: asdict(summary) for kind, summary in summaries.items()}))
    skipped = [_why(kind, each) for kind, summary in summaries.items() for each in summary.skipped]
    for line in skipped:
        typer.echo(line, err=True)
    if skipped:
        raise CliError(f"{len(skipped)} could not be copied")


def _why(kind: str, skipped: dict[str, Any]) -> str:
    version = f" version {skipped['version']}" if "version" in skipped else ""
    return f"skipped {kind} {skipped['name']} ({skipped['id']}){version}: {skipped['reason']}"


async def _copy_all(requester: "Requester", org: str, *, quiet: bool) -> dict[str, Summary]:
    summaries = {}
    for kind in KINDS:
        summaries[kind] = summary = Summary()
        for page in range(MAX_PAGES):
            copied = await _copy(requester, org, kind, page)
            summary.add(copied)
            if not copied.more:
                break
            if not quiet:
                typer.echo(f"{kind}s: {summary.line()} …")
        if not quiet:
            typer.echo(f"{kind}s: {summary.line()}")
    return summaries


async def _copy(requester: "Requester", org: str, kind: str, page: int) -> "ResourcesImported":
    from common.events.resources import RESOURCE_IMPORT_REQUESTED, ResourceImportRequested
    from common.failures import Refused

    wanted = ResourceImportRequested.model_validate(
        {"org_id": org, "key_id": "sonant-import", "user_id": "", "kind": kind, "page": page}
    )
    try:
        return (await requester.ask(RESOURCE_IMPORT_REQUESTED, wanted, timeout=PAGE_SECONDS)).body
    except Refused as refused:
        why = describe_error(refused.status, json.dumps(refused.body()))
        raise CliError(f"{kind}s, page {page}: {why}") from None
