"""The OpenAPI 3.1 document, derived from the route table."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from gateway.http.idempotency import IDEMPOTENCY_HEADER, SANE_KEY
from gateway.http.openapi_examples import body_example, parameter_example
from gateway.http.openapi_schemas import body, never_null, plain
from gateway.http.routing import Route

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
# How aiohttp writes a variable part of a path, with or without a pattern.
PATH_VARIABLE = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
ERRORS = {
    400: "The request cannot be served as it is; `param` names what is wrong.",
    401: "No API key, or one that does not work (any more).",
    403: "The API key does not allow this.",
    404: "There is no such thing, or not for this caller.",
    405: "The path does not answer this method.",
    408: "The request body did not arrive in time.",
    409: "It clashes with something that has happened or is under way.",
    412: "The active set is another one by now than the request builds on.",
    413: "The request body is too large.",
    415: "The request body is packed in an unknown way.",
    416: "The file has none of the bytes that were asked for.",
    422: "The idempotency key was used with another request, or what was asked for could not be made.",
    429: "A limit of the API key is reached; `retry-after` says when to come back.",
    500: "A bug of the server.",
    502: "No upstream gave a whole answer.",
    503: "Something the request needs is away; `retry-after` says when to come back.",
    504: "The deadline passed before the answer was complete.",
}
COME_BACK = (429, 503)


def document(routes: Sequence[Route]) -> Json:
    """The document of all routes that are not hidden.

    Raises KeyError for an error status without a meaning, ValueError for two operations of one name.
    """
    shown = [route for route in routes if not route.hidden]
    _check_names(shown)
    references, schemas = _schemas(shown)
    paths: Json = {}
    for route in shown:
        operations = paths.setdefault(_path(route), {})
        operations[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sonant",
            "version": version("sonant-gateway"),
            "description": "Voice and media AI over an event log. Every error has one shape; every answer carries "
            "`x-request-id`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This installation."}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": _ERROR},
            "headers": _HEADERS,
            "responses": {str(status): _error_response(status) for status in ERRORS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key of this installation."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _check_names(routes: Sequence[Route]) -> None:
    named = Counter(route.operation for route in routes)
    if twice := sorted(name for name, times in named.items() if times > 1):
        raise ValueError(f"more than one operation is called {', '.join(twice)}")


def _path(route: Route) -> str:
    """The path without the patterns of its variables."""
    return PATH_VARIABLE.sub(r"{\1}", route.path)


_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            # Some errors say more: who uses a version, what status a provider gave.
            "additionalProperties": True,
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


ANY_TYPE = "*/*"
_BYTES: Json = {"schema": {"type": "string", "format": "binary"}}
_FORM: Json = {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BYTES["schema"]}}}
_NOT_MODIFIED: Json = {"description": "The caller has it already; there is no body."}


def _header(description: str, kind: str = "string") -> Json:
    return {"description": description, "schema": {"type": kind}}


_RATE_HEADERS = {
    f"x-ratelimit-{part}-{name}": _header(f"{text} ({name} per minute); there when the key has this limit.")
    for name in ("requests", "tokens")
    for part, text in (("limit", "The limit"), ("remaining", "What is left"), ("reset", "Time until it is full again"))
}
_HEADERS: Json = {
    "x-request-id": _header("Names this request in the logs."),
    "retry-after": _header("Seconds to wait before the next try."),
    "location": _header("Where the job is."),
    "etag": _header('The revision of the place that was asked for, `"0"` where it has no set of its own.'),
    "x-sonant-stale": _header("`true` where this could not be refreshed although it is due."),
    "x-sonant-provider": _header("`sandbox` where no real provider stands behind the answer."),
    "x-sonant-voice-provider": _header("Who spoke: hume, openai or local."),
    "x-sonant-completion-id": _header("Names the answer, also where it failed: for its stream and its fact."),
    "x-sonant-session-id": _header("The session of the answer; a caller that names none is given one."),
    "x-sonant-context": _header(
        "Tokens and messages of the conversation, and how many messages were cut; there when its model has a window."
    ),
    "accept-ranges": _header("`bytes`: parts of the file may be asked for."),
    "content-disposition": _header("What the file is called, and whether it is to be shown or saved."),
    "content-range": _header("Which part of the file this is; there on a 206 with one part."),
    "x-sonant-active-revision": _header("The revision of the active set that served, where there is one."),
    "x-sonant-active-layer": _header("Whose set that is: `user`, `project` or `organization`."),
    "x-sonant-cache": _header("`hit`, `miss` or `refresh`, where the cache of answers or of speech was asked."),
    "idempotency-replayed": _header("`true` where the answer is that of an earlier request."),
    **_RATE_HEADERS,
}


def _refer(kind: str, names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/{kind}/{name}"} for name in names}


def _error_response(status: int) -> Json:
    headers = ["x-request-id", *(["retry-after"] if status in COME_BACK else [])]
    if status == 429:
        headers += _RATE_HEADERS
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": ERRORS[status], "headers": _refer("headers", headers), "content": content}


def _schemas(routes: Sequence[Route]) -> tuple[Mapping[tuple[type[BaseModel], JsonSchemaMode], Json], Json]:
    """References of all bodies, by model and direction, and the schemas they refer to."""
    bodies: list[tuple[type[BaseModel], JsonSchemaMode]] = []
    for route in routes:
        bodies += [(route.request, "validation")] if route.request else []
        bodies += [(told, "serialization") for told in (route.reply, route.events) if told]
    references, definitions = models_json_schema(list(dict.fromkeys(bodies)), ref_template=REFERENCE)
    schemas = {name: body(plain(schema)) for name, schema in definitions.get("$defs", {}).items()}
    return references, schemas  # type: ignore[return-value]  # keyed by the pairs given


def _operation(route: Route, references: Mapping[tuple[type[BaseModel], JsonSchemaMode], Json]) -> Json:
    operation: Json = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": list(route.tags),
        "parameters": list(_parameters(route)),
        "responses": {
            **{str(status): _success(route, references) for status in (route.status, *route.also) if status != 304},
            **({"304": _NOT_MODIFIED} if 304 in route.also else {}),
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in error_statuses(route)},
        },
    }
    if route.description:
        operation["description"] = route.description
    operation["security"] = [{"bearer": []}, {"apiKey": []}] if route.scope else []
    if route.scope:
        operation["x-scope"] = str(route.scope)
    if content := _taken(route, references):
        operation["requestBody"] = {"required": not route.bodiless, "content": content}
    return operation


def _taken(route: Route, references: Mapping[tuple[type[BaseModel], JsonSchemaMode], Json]) -> Json:
    """The kinds of body that the route takes."""
    content: Json = dict.fromkeys(route.takes, _BYTES)
    if "multipart/form-data" in content:
        content["multipart/form-data"] = _FORM
    if route.request:
        example = body_example(route.method, _path(route))
        content["application/json"] = {"schema": references[route.request, "validation"], **example}
    return content


def error_statuses(route: Route) -> list[int]:
    """Every error status the route can answer with: its own and those of its kind; KeyError for an unknown one."""
    statuses = set(route.errors)
    if route.scope:
        statuses |= {401, 403, 503}
    if route.request:
        statuses |= {400, 408, 413, 415}
    if route.query or route.headers:
        statuses |= {400}
    if route.idempotent:
        statuses |= {400, 409, 422, 503}
    if route.limited:
        statuses |= {400, 429, 503}
    if route.work:
        statuses |= {429}
    if unknown := statuses - ERRORS.keys():
        raise KeyError(f"{route.method} {route.path} answers {sorted(unknown)}, which nothing describes")
    return sorted(statuses)


def _success(route: Route, references: Mapping[tuple[type[BaseModel], JsonSchemaMode], Json]) -> Json:
    headers = ["x-request-id", *(_RATE_HEADERS if route.limited else ())]
    headers += [*route.sends, *(["idempotency-replayed"] if route.idempotent else [])]
    content: Json = {}
    if route.reply:
        content[route.content_type] = {"schema": references[route.reply, "serialization"]}
    elif route.method != "HEAD" and (route.request or not route.streaming):
        # A file of any type may be JSON, which is no string for whoever reads it by its type.
        content = {
            "application/octet-stream": _BYTES,
            route.content_type: {} if route.content_type == ANY_TYPE else _BYTES,
        }
    if route.streaming:
        content["text/event-stream"] = {"schema": _event(references, route.events) if route.events else {}}
    return {"description": "Success.", "headers": _refer("headers", headers), "content": content}


def _event(references: Mapping[tuple[type[BaseModel], JsonSchemaMode], Json], data: type[BaseModel]) -> Json:
    """An event of a stream, whose data is JSON; the last of a chat completion is `[DONE]`."""
    told = {"contentMediaType": "application/json", "contentSchema": references[data, "serialization"]}
    line = {"anyOf": [{"type": "string", **told}, {"const": "[DONE]"}]}
    return {
        "type": "object",
        "required": ["data"],
        "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": line},
    }


def _parameters(route: Route) -> Iterator[Json]:
    for name in PATH_VARIABLE.findall(route.path):
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema, **parameter_example(name)}
    if route.query:
        yield from _query_parameters(route.query)
    for name, description in route.headers.items():
        told = {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
        yield told | parameter_example(name)
    if route.idempotent:
        yield {
            "name": IDEMPOTENCY_HEADER,
            "in": "header",
            "description": "A repetition within a day gets the first answer; not for answers that stream.",
            "schema": {"type": "string", "pattern": f"^{SANE_KEY.pattern}$"},
        }


def _query_parameters(model: type[BaseModel]) -> Iterator[Json]:
    schema = plain(model.model_json_schema())
    for name, described in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        yield {"name": name, "in": "query", "required": required, "schema": never_null(described)}
