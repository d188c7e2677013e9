"""The reference of scopes: what each route of the gateway wants of a key."""

from typing import Any

from common.docs import sources
from common.docs.markdown import code, page, table

HEADER = ("method", "path", "does")
INTRO = (
    "A key has one scope or more, and reaches their routes, in its own organisation. A key without the scope gets "
    "403 `insufficient_scope`."
)


def reference() -> str:
    """The page, in Markdown."""
    [(_, module)] = sources.load(sources.ROUTES)
    by_scope: dict[str, list[Any]] = {}
    for route in module.ROUTES:
        if not route.hidden:
            by_scope.setdefault("" if route.scope is None else str(route.scope), []).append(route)
    order = sorted(by_scope, key=lambda name: (not name, name))
    return page("Scopes", INTRO, *(_section(scope, by_scope[scope]) for scope in order))


def _section(scope: str, routes: list[Any]) -> str:
    heading = f"`{scope}`" if scope else "Without a key"
    rows = [(route.method, code(route.path), route.summary) for route in routes]
    return f"## {heading}\n\n{table(HEADER, rows)}"
