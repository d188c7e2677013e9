"""The OpenAPI document says what the route table says, in 3.1 and, for the documentation page, in 3.0."""

from types import SimpleNamespace
from typing import Annotated, Any, Literal, cast

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field

from common.events.telemetry import USAGE_REQUESTED
from common.kernel.health import Health
from gateway.app import build_app
from gateway.http.openapi import document, error_statuses
from gateway.http.openapi_3_0 import to_3_0
from gateway.http.openapi_examples import BODIES
from gateway.http.routing import Route
from gateway.ports import Scope
from gateway.routes import ROUTES
from gateway.settings import GatewaySettings
from tests.support.expected import Expected
from tests.support.openapi import UNDOCUMENTED, operations, surface


class Nested(BaseModel):
    const: int | None = None


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["only"]
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    nested: Nested | None = None


class Told(BaseModel):
    id: str
    nested: Nested


class Query(BaseModel):
    limit: Annotated[int, Field(ge=1)] = 10
    after: str | None = None


async def view(_: web.Request) -> web.Response:
    return web.Response()


ROUTE = Route(
    "POST",
    "/v1/things/{thing_id:[a-z]+}",
    view,
    "Do it",
    scope=Scope.CHAT,
    request=Asked,
    response=Told,
    query=Query,
    headers={"x-user-id": "Who."},
    status=201,
    errors=(404, 504),
    streaming=True,
    idempotent=True,
    limited=True,
    tags=("things",),
)


# A stream of events, and files as they are.
NOT_JSON = {
    "resume_chat_completion",
    "watch_job",
    "resume_session",
    "download_asset",
    "create_speech",
    "head_asset",
    "download_linked_asset",
    "head_linked_asset",
}


def operation() -> dict[str, Any]:
    found: dict[str, Any] = document([ROUTE])["paths"]["/v1/things/{thing_id}"]["post"]
    return found


def test_an_operation_tells_its_parameters() -> None:
    parameters = {(item["in"], item["name"]): item for item in operation()["parameters"]}
    assert set(parameters) == {
        ("path", "thing_id"),
        ("query", "limit"),
        ("query", "after"),
        ("header", "x-user-id"),
        ("header", "Idempotency-Key"),
    }
    assert parameters["query", "after"]["schema"]["type"] == "string"
    assert parameters["query", "limit"]["schema"]["default"] == 10


def test_an_operation_tells_every_answer() -> None:
    told = operation()
    statuses = {201, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504}
    assert {int(status) for status in told["responses"]} == statuses
    assert set(told["responses"]["201"]["content"]) == {"application/json", "text/event-stream"}
    assert "x-ratelimit-limit-tokens" in told["responses"]["201"]["headers"]
    assert told["security"] == [{"bearer": []}, {"apiKey": []}]


def test_a_route_without_scope_or_body_claims_neither() -> None:
    bare = Route("GET", "/open", view, "Open", streaming=True)
    assert error_statuses(bare) == []
    told = document([bare])["paths"]["/open"]["get"]
    assert told["security"] == []
    assert "requestBody" not in told
    assert set(told["responses"]["200"]["content"]) == {"text/event-stream"}


def test_every_success_in_json_has_a_declared_shape() -> None:
    operations = [item for path in document(ROUTES)["paths"].values() for item in path.values()]
    told = {
        item["operationId"]: [
            response["content"]["application/json"]["schema"]
            for status, response in item["responses"].items()
            if status.startswith("2") and "application/json" in response.get("content", {})
        ]
        for item in operations
    }
    assert {id for id, schemas in told.items() if not schemas} == NOT_JSON
    bodies = [schema for schemas in told.values() for schema in schemas]
    assert [set(body) for body in bodies] == [{"$ref"}] * len(bodies)


def test_a_route_that_names_a_query_documents_its_reply() -> None:
    usage = document([Route("GET", "/usage", view, "Usage", response=USAGE_REQUESTED)])
    [schema] = [media["schema"] for media in usage["paths"]["/usage"]["get"]["responses"]["200"]["content"].values()]
    assert schema == {"$ref": "#/components/schemas/UsageList"}


def test_an_undescribed_error_status_is_a_mistake_in_the_table() -> None:
    with pytest.raises(KeyError):
        document([Route("GET", "/odd", view, "Odd", errors=(418,))])


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {found for item in value for found in references(item)}
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own | {found for item in value.values() for found in references(item)}


@pytest.mark.parametrize("convert", [lambda told: told, to_3_0])
def test_every_reference_leads_somewhere(convert: Any) -> None:
    told = convert(document([ROUTE, *ROUTES]))
    for reference in references(told):
        at = told
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_schemas_are_json_schema() -> None:
    for schema in document([ROUTE, *ROUTES])["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_page_gets_only_words_of_3_0() -> None:
    told = to_3_0(document([ROUTE]))
    assert told["openapi"] == "3.0.3"
    asked = told["components"]["schemas"]["Asked"]["properties"]
    assert asked["kind"]["enum"] == ["only"]
    assert asked["share"]["nullable"] is True
    assert asked["share"]["anyOf"][0] == {
        "type": "number",
        "minimum": 0.0,
        "exclusiveMinimum": True,
        "maximum": 1.0,
        "exclusiveMaximum": True,
    }
    # A property may be called like a keyword.
    assert set(told["components"]["schemas"]["Nested"]["properties"]) == {"const"}
    assert told["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["nullable"] is True


def test_operation_ids_are_unique() -> None:
    told = document([ROUTE, *ROUTES])
    ids = [item["operationId"] for path in told["paths"].values() for item in path.values()]
    assert len(ids) == len(set(ids)) == 1 + len(ROUTES)


def test_every_route_of_the_table_asks_for_a_scope_or_a_signature() -> None:
    assert {route.path for route in ROUTES if route.scope is None} == {
        "/webhooks/hume",
        "/webhooks/runware/{token}",
        "/webhooks/hume-batch/{token}",
        "/v1/assets/{id}/content",
        "/v1/webhooks/endpoints/{id}/jwks.json",
    }


def test_every_route_of_the_application_is_documented() -> None:
    """Seen from inside: from outside, a route nobody asks for cannot be told from one that is not there."""
    settings = GatewaySettings(instance="gateway-0")
    # Routes are declared without looking at what their views will need.
    deps = SimpleNamespace(settings=settings, limits=None, keys=SimpleNamespace(identify=None))
    app = build_app(cast("Any", SimpleNamespace(health=Health())), cast("Any", deps))
    routes = {(route.method.lower(), route.resource.canonical) for route in app.router.routes() if route.resource}
    beside = {(method, path) for path in UNDOCUMENTED for method in ("get", "head")}
    assert routes == operations(document(ROUTES)) | beside


def test_the_public_surface_is_the_expected_one(expected: Expected) -> None:
    """The system test compares what is served with the same file."""
    expected.matches("openapi.json", surface(document(ROUTES)))


def test_every_json_body_has_an_example_that_fits_it() -> None:
    told = document(ROUTES)
    taken = {
        f"{method.upper()} {path}": told["paths"][path][method].get("requestBody", {}).get("content", {})
        for method, path in operations(told)
    }
    bodies = {name: content["application/json"] for name, content in taken.items() if "application/json" in content}
    assert bodies.keys() == BODIES.keys()
    for name, body in bodies.items():
        validator = Draft202012Validator({**body["schema"], "components": told["components"]})
        assert [error.message for error in validator.iter_errors(body["example"])] == [], name
