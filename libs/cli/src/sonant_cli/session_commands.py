"""`sonant sessions` and `sonant ledger`: what apps reported, and whether all of it arrived."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from sonant_cli.gateway import Gateway, KeyOption, UrlOption, locate
from sonant_cli.state import DataDir
from sonant_cli.whole_table import show as show_table

PAGE = 200
PREVIEW = 500

sessions = typer.Typer(no_args_is_help=True, help="List and show the sessions of apps that report here.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, one object a line.")]
ModeOption = Annotated[str | None, typer.Option(help="prod or dev.")]


def _gateway(url: str | None, key: str | None) -> Gateway:
    return locate(url, key, DataDir.from_environment())


@sessions.command("list")
def list_sessions(
    *,
    mode: ModeOption = None,
    user: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    since: Annotated[str | None, typer.Option(help="ISO 8601 with a zone, or unix seconds.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most sessions to list.")] = 50,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List sessions, the latest first."""
    query = {"mode": mode, "user_id": user, "since": since}
    found = _pages(_gateway(url, key), "/v2/sessions", query, limit)
    if as_json:
        for session in found:
            typer.echo(json.dumps(session))
        return
    table = Table("session", "mode", "user", "last", "turns", "errors", "tokens", "cost (USD)", "model", box=None)
    for session in found:
        table.add_row(
            escape(session["session_id"]),
            session["mode"],
            escape(session["user_id"] or "-"),
            _moment(session["last_at"]),
            str(session["turns"]),
            str(session["errors"]),
            str(session["total_tokens"]),
            f"{session['cost_usd']:.4f}",
            escape(session["last_model"] or "-"),
        )
    show_table(table)


@sessions.command("show")
def show_session(
    session_id: Annotated[str, typer.Argument(help="The session, as its app calls it.")],
    mode: ModeOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Most turns to show.")] = 100,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Show the turns of a session with their steps, the oldest first."""
    turns = _pages(_gateway(url, key), f"/v2/sessions/{quote(session_id, safe='')}", {"mode": mode}, limit)
    console = Console()
    for turn in turns:
        if as_json:
            typer.echo(json.dumps(turn))
        else:
            console.print(_turn(turn))


def _pages(gateway: Gateway, path: str, query: Mapping[str, str | None], most: int) -> Iterator[Mapping[str, Any]]:
    """At most so many, page by page."""
    given = {name: value for name, value in query.items() if value is not None}
    after: dict[str, str] = {}
    while most > 0:
        page = gateway.call("GET", path, params={**given, **after, "limit": min(PAGE, most)})
        yield from page["data"]
        most -= len(page["data"])
        if not page["has_more"]:
            return
        after = {"after": page["next"]}


def _turn(turn: Mapping[str, Any]) -> Tree:
    took = "" if turn["response_ms"] is None else f"  {turn['response_ms']:.0f} ms"
    model = escape(turn["llm_model"] or "-")
    tree = Tree(f"[bold]{_moment(turn['at'])}[/bold]  {turn['id']}  {model}  {turn['status']}{took}")
    for name, text in (("asked", turn["user_prompt"]), ("answered", turn["ai_response"])):
        if text is not None:
            tree.add(f"{name}: {escape(text[:PREVIEW])}{'…' if len(text) > PREVIEW else ''}")
    if turn["error"] is not None:
        tree.add(f"[red]error: {escape(json.dumps(turn['error'])[:PREVIEW])}[/red]")
    _add_steps(tree, turn["steps"])
    for score in turn["scores"]:
        tree.add(f"score {escape(score['name'])}: {escape(str(score['value']))}")
    return tree


def _add_steps(tree: Tree, steps: list[Mapping[str, Any]]) -> None:
    for step in steps:
        took = "" if step["duration_ms"] is None else f"  {step['duration_ms']:.0f} ms"
        failed = "  [red]error[/red]" if step["status"] == "error" else ""
        _add_steps(tree.add(f"{escape(step['name'])}{took}{failed}"), step["steps"])


def ledger(
    since: Annotated[str | None, typer.Option(help="ISO 8601 or unix seconds; a day ago by default.")] = None,
    until: Annotated[str | None, typer.Option(help="The same; now by default.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Show what was accepted and what became of it, by hour; exit code 1 where something is missing.

    In the hour that is not over, what is on its way counts as missing.
    """
    given = {"since": since, "until": until}
    answer = _gateway(url, key).call(
        "GET", "/v2/ledger", params={name: value for name, value in given.items() if value is not None}
    )
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        names = ("accepted", "stored", "sampled_out", "parked", "repeated", "missing")
        table = Table("hour", *(name.replace("_", " ") for name in names), box=None)
        for hour in answer["data"]:
            table.add_row(_moment(hour["hour"]), *(str(hour[name]) for name in names))
        show_table(table)
    if not answer["balanced"]:
        raise typer.Exit(1)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
