"""`sonant export` and `sonant import file`: a project with its resources and active sets as one JSON file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sonant_cli.bus import with_requester
from sonant_cli.errors import CliError
from sonant_cli.gateway import describe_error

if TYPE_CHECKING:
    from common.events.spec import R, RequestSpec

# A thousand active sets are switched one after the other.
ANSWER_SECONDS = 60.0
# As it stands in the audit trail.
KEY_ID = "sonant-cli"

OrgOption = Annotated[str, typer.Option(help="The organisation.")]


def export(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; without one it is printed.")] = None,
    project: Annotated[str, typer.Option(help="The project.")] = "default",
    org: OrgOption = "default",
) -> None:
    """Take a project out: its active sets, and every version of the resources in them.

    A file holds at most 1,000 active sets and 3 MiB. A project without active sets is an error.
    """
    from common.events.reply import content
    from common.events.resources import PROJECT_EXPORT_REQUESTED

    document = _ask(PROJECT_EXPORT_REQUESTED, org, project_id=project)
    if not document.places:
        # A project that nobody has looks the same; a backup of nothing is no success.
        raise CliError(f"the project {project} of {org} has no active sets: there is nothing to export")
    text = json.dumps(content(document), indent=2, ensure_ascii=False)
    if file is None:
        typer.echo(text)
        return
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror}") from None
    typer.echo(f"{len(document.resources)} resources and {len(document.places)} active sets in {file}")


def import_file(
    file: Annotated[Path, typer.Argument(help="What `sonant export` wrote.")],
    project: Annotated[str | None, typer.Option(help="Put it in as this project instead of its own.")] = None,
    org: OrgOption = "default",
) -> None:
    """Put an exported project in, all of it or nothing; what is here already stays as it is."""
    from common.events.resources import PROJECT_IMPORT_REQUESTED

    document = _read(file)
    imported = _ask(
        PROJECT_IMPORT_REQUESTED, org, project_id=project or str(document.get("project_id")), document=document
    )
    typer.echo(
        f"{imported.resources} resources with {imported.versions} new versions, {imported.places} active sets switched"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CliError(f"{file} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise CliError(f"{file} holds no project")
    return document


def _ask(spec: "RequestSpec[Any, R]", org: str, **fields: Any) -> "R":
    from common.failures import Refused

    payload = spec.payload(org_id=org, key_id=KEY_ID, user_id="", **fields)
    try:
        return with_requester(lambda requester: requester.ask(spec, payload, timeout=ANSWER_SECONDS)).body
    except Refused as refused:
        raise CliError(describe_error(refused.status, json.dumps(refused.body()))) from None
