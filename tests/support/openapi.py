"""What an OpenAPI document says in short: its operations, and the public surface as tests/data/openapi.json has it."""

from typing import Any

METHODS = {"get", "post", "put", "patch", "delete"}
# Served beside the API and described by what they are: the documents themselves, the page that shows them, and
# what operators ask. They answer 200 without a key.
UNDOCUMENTED = {
    "/": "text/html",
    "/openapi.json": "application/json",
    "/asyncapi.json": "application/json",
    "/docs": "text/html",
    "/docs/": "text/html",
    "/docs/openapi.json": "application/json",
    "/docs/start.js": "text/javascript",
    "/docs/swagger-ui.css": "text/css",
    "/docs/swagger-ui-bundle.js": "text/javascript",
    "/docs/favicon-32x32.png": "image/png",
    "/healthz": "application/json",
    "/readyz": "application/json",
}


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Method and path of each."""
    return {(method, path) for path, item in document["paths"].items() for method in item if method in METHODS}


def surface(document: dict[str, Any]) -> dict[str, Any]:
    """Paths, their methods, and of each method what it takes, requires and answers with."""
    return {
        path: {method: _operation(item[method]) for method in item if method in METHODS}
        for path, item in document["paths"].items()
    }


def _operation(told: dict[str, Any]) -> dict[str, Any]:
    required = {True: " (required)", False: ""}
    return {
        "parameters": sorted(
            f"{item['in']} {item['name']}{required[item.get('required', False)]}" for item in told.get("parameters", ())
        ),
        "statuses": " ".join(sorted(told["responses"])),
        "types": " ".join(sorted({name for each in told["responses"].values() for name in each.get("content", ())})),
    }
