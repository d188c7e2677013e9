"""`sonant songs`: a catalogue imported, songs searched for, through the gateway."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sonant_cli.errors import CliError
from sonant_cli.gateway import Gateway, KeyOption, UrlOption, describe_error, locate
from sonant_cli.job_commands import watch
from sonant_cli.state import DataDir
from sonant_cli.whole_table import show as show_table

UPLOAD_SECONDS = 600.0

songs = typer.Typer(no_args_is_help=True, help="Import catalogues of songs, and search them.")
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@songs.command("import")
def import_songs(
    file: Annotated[Path, typer.Argument(help="A CSV with a header, or JSON lines: a song a row.")],
    *,
    wait: Annotated[bool, typer.Option(help="Watch until it is imported.")] = True,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Import a catalogue; rows that are no songs are named in the result."""
    gateway = locate(url, key, DataDir.from_environment())
    job = gateway.call("POST", "/v1/songs/import", json={"asset_id": upload(gateway, file)})
    if not wait:
        typer.echo(job["id"])
        return
    watch(job["id"], gateway.url, gateway.key)


@songs.command()
def search(
    text: Annotated[str, typer.Argument(help="What the songs are to be like, in words.")] = "",
    *,
    like: Annotated[str, typer.Option(help="The id of a song that they are to be like.")] = "",
    sound: Annotated[Path | None, typer.Option(help="A file with the sound that they are to be like.")] = None,
    genre: Annotated[str, typer.Option(help="Only of this genre.")] = "",
    artist: Annotated[str, typer.Option(help="Only by this artist.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 10,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Find songs that are like a text, a song or a sound."""
    if sum(map(bool, (text, like, sound))) != 1:
        raise CliError("say what to search for: a text, --like, or --sound")
    gateway = locate(url, key, DataDir.from_environment())
    subject = {"text": text} if text else {"song_id": like}
    if sound is not None:
        subject = {"asset_id": upload(gateway, sound)}
    wanted = {name: value for name, value in (("genre", genre), ("artist", artist)) if value}
    found = gateway.call("POST", "/v1/songs/search", json={**subject, "filter": wanted, "limit": limit})
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show_table(_table(found["data"]))


def _table(matches: list[dict[str, Any]]) -> Table:
    table = Table("score", "title", "artist", "genres", "tempo", "key", "id", box=None)
    for match in matches:
        song = match["song"]
        tempo = "" if song["tempo"] is None else f"{song['tempo']:.0f}"
        key = " ".join(part for part in (song["key"], song["mode"]) if part)
        table.add_row(
            f"{match['score']:.2f}", song["title"], song["artist"], ", ".join(song["genres"]), tempo, key, song["id"]
        )
    return table


def upload(gateway: Gateway, file: Path) -> str:
    """Make an asset of a file; returns its id.

    Raises:
        CliError: it cannot be read, or is not taken.
    """
    # Loading httpx takes a quarter of a second, which commands without a request need not pay.
    import httpx

    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/octet-stream"}
    try:
        with file.open("rb") as data, httpx.Client(base_url=gateway.url, timeout=UPLOAD_SECONDS) as client:
            answer = client.post("/v1/assets", content=data, headers=headers, params={"name": file.name})
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror or error}") from None
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise CliError(f"the file did not reach {gateway.url} ({error})") from None
    if answer.is_error:
        raise CliError(describe_error(answer.status_code, answer.text))
    return str(answer.json()["id"])
