"""Secrets of tools that Sonant runs: sealed at the gateway, so that the log carries none."""

from typing import Any

from aiohttp import web

from common.events.resource_terms import Kind
from common.secret_box import SecretError
from gateway.deps import DEPS
from gateway.http.context import CALLER
from gateway.http.errors import bad_request


def seal_secret(request: web.Request, kind: Kind, body: dict[str, Any]) -> None:
    """Seal the secret of a tool in its body: what goes on to the log is as it will be kept. Raises Refused (400)."""
    run = body.get("run") if kind == "tool" else None
    if run is None or run.get("secret") is None:
        return
    try:
        sealed = request.app[DEPS].secrets.seal(run["secret"], request[CALLER].org_id)
    except SecretError as error:
        raise bad_request(f"Invalid 'run.secret': {error}.", "run.secret", "secret_not_kept") from None
    body["run"] = {**run, "secret": sealed}
