"""The documentation: OpenAPI and AsyncAPI documents, and a page that shows them without the internet."""

from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from swagger_ui_bundle import swagger_ui_path

from gateway.http.openapi_3_0 import to_3_0

# Everything comes from here, nothing runs that is not in a file of ours, and nobody may frame the page.
# Images inlined as data are the bundle's own icons.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
# Relative addresses: the page also works under a prefix of a proxy.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sonant API</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# A browser that was pointed at the gateway: where to go from here.
HOME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sonant</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<h1>Sonant</h1>
<p>The gateway of a voice and media AI backend, version {version}.</p>
<ul>
<li><a href="docs">The HTTP API, to read and to try</a> (<a href="openapi.json">openapi.json</a>)</li>
<li><a href="asyncapi.json">The events of the log</a></li>
<li><a href="readyz">Whether everything it needs works right now</a></li>
</ul>
<p>OpenAI clients use the base URL <code>/v1</code> with an API key of this installation.</p>
</body>
</html>
"""
# Without validatorUrl the page would ask a public service about the document.
START = """window.ui = SwaggerUIBundle({
  url: new URL("openapi.json", document.currentScript.src).href,
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  persistAuthorization: false,
  validatorUrl: null
});
"""

Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def docs_routes(openapi: Mapping[str, Any], asyncapi: bytes) -> list[web.RouteDef]:
    """Routes without authentication; the documents are serialised once."""
    page = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
    return [
        web.get("/openapi.json", fixed(orjson.dumps(openapi), "application/json")),
        web.get("/asyncapi.json", fixed(asyncapi, "application/json")),
        web.get("/", fixed(HOME.replace("{version}", version("sonant-gateway")).encode(), "text/html", page)),
        web.get("/docs", fixed(PAGE.encode(), "text/html", page)),
        web.get("/docs/", fixed(_below(PAGE).encode(), "text/html", page)),
        web.get("/docs/start.js", fixed(START.encode(), "text/javascript")),
        web.get("/docs/openapi.json", fixed(orjson.dumps(to_3_0(openapi)), "application/json")),
        *(web.get(f"/docs/{name}", _asset(name, kind)) for name, kind in ASSETS.items()),
    ]


def _below(text: str) -> str:
    """The page for an address that ends in a slash: what it names by relative addresses is one level higher."""
    return text.replace('="docs/', '="').replace('="openapi.json"', '="../openapi.json"')


def fixed(body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Handler:
    """A handler that always answers the same."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return answer


def _asset(name: str, content_type: str) -> Handler:
    path = Path(swagger_ui_path) / name

    async def answer(_: web.Request) -> web.FileResponse:
        response = web.FileResponse(path, headers={"Cache-Control": "max-age=3600"})
        response.content_type = content_type
        return response

    return answer
