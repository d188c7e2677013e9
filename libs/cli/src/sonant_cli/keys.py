"""`sonant keys`: API keys, made, listed, revoked and rotated through the gateway."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from sonant_cli.gateway import Gateway, KeyOption, UrlOption, locate
from sonant_cli.state import DataDir
from sonant_cli.whole_table import show as show_table

PATH = "/v1/admin/keys"

keys = typer.Typer(no_args_is_help=True, help="Create, list, revoke and rotate API keys.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
KeyId = Annotated[str, typer.Argument(help="The id of the key, as `sonant keys list` shows it.")]


def _gateway(url: str | None, key: str | None) -> Gateway:
    return locate(url, key, DataDir.from_environment())


@keys.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    org: Annotated[str, typer.Option(help="The organisation it belongs to.")] = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="chat, resources, media, ingest or admin; may be repeated.")
    ] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests per minute.")] = None,
    tpm: Annotated[int | None, typer.Option(min=1, help="Tokens per minute.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Streams at the same time.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens it may spend in a period.")] = None,
    budget_usd: Annotated[float | None, typer.Option(min=0, help="USD it may spend in a period.")] = None,
    budget_period: Annotated[str, typer.Option(help="day or month, of UTC.")] = "month",
    expires_in: Annotated[int | None, typer.Option(min=1, help="Seconds until it ends.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Create an API key; it is shown this once."""
    limits: dict[str, Any] = {
        "requests_per_minute": rpm,
        "tokens_per_minute": tpm,
        "concurrent_streams": concurrent,
    }
    if budget_tokens is not None or budget_usd is not None:
        limits["budget"] = {"period": budget_period, "tokens": budget_tokens, "usd": budget_usd}
    wanted = {
        "name": name,
        "organization": org,
        "scopes": scope or ["chat"],
        "limits": limits,
        "expires_in": expires_in,
    }
    _show_new(_gateway(url, key).call("POST", PATH, json=wanted), as_json)


@keys.command("list")
def list_keys(
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List the API keys, without their secrets."""
    found = list(_pages(_gateway(url, key), {"organization": org} if org else {}))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show_table(_table(found))


def _pages(gateway: Gateway, query: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """All keys there are, page by page."""
    more, after = True, dict[str, str]()
    while more:
        page = gateway.call("GET", PATH, params={**query, **after})
        yield from page["data"]
        more = page["has_more"]
        after = {"after": page["data"][-1]["id"]} if more else {}


@keys.command()
def budget(key_id: KeyId, as_json: JsonOption = False, url: UrlOption = None, key: KeyOption = None) -> None:
    """Show what an API key has spent of its budget."""
    found = _gateway(url, key).call("GET", f"{PATH}/{key_id}/budget")
    if as_json:
        typer.echo(json.dumps(found))
        return
    tokens, usd = found["limit_tokens"] or "any", found["limit_usd"] or "any"
    typer.echo(f"{found['period']}: {found['tokens']} of {tokens} tokens, {found['usd']:.6f} of {usd} USD")


@keys.command()
def revoke(key_id: KeyId, as_json: JsonOption = False, url: UrlOption = None, key: KeyOption = None) -> None:
    """Revoke an API key at once."""
    revoked = _gateway(url, key).call("DELETE", f"{PATH}/{key_id}")
    typer.echo(json.dumps(revoked) if as_json else f"revoked {revoked['id']} ({revoked['name']})")


@keys.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[int, typer.Option(min=0, help="Seconds the old key stays valid.")] = 3600,
    as_json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Replace an API key by a new one with the same rights."""
    _show_new(_gateway(url, key).call("POST", f"{PATH}/{key_id}/rotate", json={"overlap": overlap}), as_json)


def _show_new(created: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(created))
        return
    typer.echo(created["key"])
    typer.echo(f"id {created['id']}, {', '.join(created['scopes'])}; the key is not shown again", err=True)


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    # Ids are copied into other commands: they are shown whole on the narrowest terminal.
    width = max((len(key["id"]) for key in found), default=2)
    columns = ("name", "organization", "scopes", "limits", "created", "state")
    table = Table(Column("id", no_wrap=True, min_width=width), *columns, box=None)
    for key in found:
        cells = (key["id"], key["name"], key["organization"], ", ".join(key["scopes"]))
        table.add_row(*cells, describe_limits(key["limits"]), describe_moment(key["created_at"]), describe_state(key))
    return table


def describe_limits(limits: Mapping[str, Any]) -> str:
    units = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "concurrent_streams": "streams"}
    given = [f"{limits[name]} {unit}" for name, unit in units.items() if limits.get(name) is not None]
    if budget := limits.get("budget"):
        amounts = [f"{budget[name]} {name}" for name in ("tokens", "usd") if budget.get(name) is not None]
        given.append(f"{' and '.join(amounts)} a {budget['period']}")
    return ", ".join(given) or "none"


def describe_state(key: Mapping[str, Any]) -> str:
    if key.get("revoked_at"):
        return f"revoked {describe_moment(key['revoked_at'])}"
    return f"until {describe_moment(key['expires_at'])}" if key.get("expires_at") else "active"


def describe_moment(value: float | str) -> str:
    """A time given in unix seconds or ISO 8601, in UTC to the minute."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
    return read.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
