"""Requests about resources: what they may say together, and what their words stand for."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from common.events.resource_terms import Layer, Pin, SetScope
from common.failures import Refused
from gateway.http.end_user import end_user
from gateway.http.validation import read_query, validate
from gateway.resources.active_bodies import ActivePins, SetActive
from gateway.resources.request_context import if_match, one_of, scope_of
from gateway.resources.resource_bodies import EditResource, ReadResources

SEED = {
    "configId": "config-789",
    "configVersion": 2,
    "promptId": "prompt-123",
    "promptVersion": 1,
    "tools": [{"toolId": "weather-tool", "toolVersion": 1}, {"toolId": "calendar-tool", "toolVersion": 3}],
    "projectId": "project-456",
}


def asked(query: str = "", **headers: str) -> web.Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", f"/?{query}", headers=named)


def refused(status: int, param: str | None, call: Any, *args: Any) -> None:
    with pytest.raises(Refused) as error:
        call(*args)
    assert (error.value.status, error.value.param) == (status, param)


def test_a_request_speaks_for_a_user() -> None:
    assert end_user(asked(x_user_id="user-123")) == "user-123"
    refused(401, "x-user-id", end_user, asked())
    refused(400, "x-user-id", end_user, asked(x_user_id=""))
    refused(400, "x-user-id", end_user, asked(x_user_id="u" * 201))


@pytest.mark.parametrize(
    ("layer", "project", "scope"),
    [
        ("user", None, SetScope(layer="user", project_id="default", user_id="u")),
        ("user", "p", SetScope(layer="user", project_id="p", user_id="u")),
        ("project", None, SetScope(layer="project", project_id="default", user_id="")),
        ("project", "p", SetScope(layer="project", project_id="p", user_id="")),
        ("organization", None, SetScope(layer="organization", project_id="", user_id="")),
    ],
)
def test_a_layer_is_a_scope(layer: Layer, project: str | None, scope: SetScope) -> None:
    assert scope_of(asked(x_user_id="u"), layer, project) == scope


def test_defaults_need_no_user_and_the_organization_no_project() -> None:
    assert scope_of(asked(), "project", "p").user_id == ""
    refused(401, "x-user-id", scope_of, asked(), "user", "p")
    refused(400, "projectId", scope_of, asked(), "organization", "p")


def test_query_and_body_may_agree() -> None:
    assert (one_of("a", "a", "id"), one_of("a", None, "id"), one_of(None, "b", "id")) == ("a", "a", "b")
    refused(400, "id", one_of, "a", "b", "id")


@pytest.mark.parametrize(
    ("text", "revision", "etag"),
    [('"0"', 0, "0"), ('"3"', 3, "3"), (' "12" ', 12, "12"), ('"3-4-1e-05"', 3, "3-4-1e-05")],
)
def test_a_precondition_is_the_etag_of_a_set(text: str, revision: int, etag: str) -> None:
    assert if_match(asked(if_match=text)) == {"if_match": revision, "if_etag": etag}
    assert if_match(asked()) == {}


@given(st.text(alphabet='"0123456789*W/, -', max_size=12).filter(lambda text: '"' not in text or "*" in text))
def test_any_other_precondition_is_refused(text: str) -> None:
    refused(400, "If-Match", if_match, asked(if_match=text))


def test_the_body_of_the_seed_names_pins() -> None:
    body = validate(SetActive, SEED)
    pins = body.pins()
    assert (pins.config, pins.prompt, pins.voice) == (
        Pin(id="config-789", version=2),
        Pin(id="prompt-123", version=1),
        None,
    )
    assert pins.tools == (Pin(id="weather-tool", version=1), Pin(id="calendar-tool", version=3))
    assert body.project_id == "project-456"


def test_without_a_version_the_latest_is_followed() -> None:
    pins = validate(ActivePins, {"configId": "c", "promptId": "p", "promptVersion": None, "voiceId": "v"}).pins()
    assert (pins.config.version, pins.prompt.version) == (None, None)
    assert pins.voice == Pin(id="v", version=None)
    assert pins.tools == ()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"configId": "../configs/x?y=1"}, "configId"),
        ({"configId": ""}, "configId"),
        ({"configId": "a\n"}, "configId"),
        ({"configVersion": -1}, "configVersion"),
        ({"configVersion": "2"}, "configVersion"),
        ({"configVersion": 2**31}, "configVersion"),
        ({"promptId": None}, "promptId"),
        ({"tools": [{"toolId": "a"}] * 65}, "tools"),
        ({"tools": [{"toolVersion": 1}]}, "tools.0.toolId"),
        ({"projectId": "a:b"}, "projectId"),
        ({"note": "a\x00b"}, "note"),
        ({"userId": "someone else"}, "userId"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], param: str) -> None:
    refused(400, param, validate, SetActive, {**SEED, **change})


@pytest.mark.parametrize(
    ("change", "param"),
    [({"tools": [{"toolId": "a"}, {"toolId": "a", "toolVersion": 1}]}, "tools"), ({"voiceVersion": 0}, "voiceId")],
)
def test_a_contradiction_is_named(change: dict[str, Any], param: str) -> None:
    refused(400, param, validate(ActivePins, {"configId": "c", "promptId": "p", **change}).pins)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("version=1", "version"),
        ("versions=true", "versions"),
        ("id=a&name=b", "name"),
        ("id=a&version=1&versions=true", "versions"),
        ("active=true&id=a", "id"),
        ("active=true&name=a", "name"),
        ("projectId=p", "projectId"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(query: str, param: str) -> None:
    refused(400, param, read_query(asked(query), ReadResources).check)


@pytest.mark.parametrize(
    "query", ["", "name=a%20b", "id=a", "id=a&version=0", "id=a&versions=true&page_number=1", "active=true&projectId=p"]
)
def test_parameters_that_go_together_pass(query: str) -> None:
    read_query(asked(query), ReadResources).check()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("active=yes", "active"),
        ("id=a/b", "id"),
        ("id=..", "id"),
        ("version=-1&id=a", "version"),
        ("page_size=101", "page_size"),
        ("page_number=-1", "page_number"),
        ("name=", "name"),
        ("more=1", "more"),
    ],
)
def test_a_wrong_parameter_is_named(query: str, param: str) -> None:
    refused(400, param, read_query, asked(query), ReadResources)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "a", "version": 1}, "name"),
        ({"version": 1}, "version_description"),
        ({"version_description": "a"}, "version"),
    ],
)
def test_an_edit_is_a_name_or_a_description(body: dict[str, Any], param: str) -> None:
    refused(400, param, validate(EditResource, body).check)
    validate(EditResource, {"name": "a"}).check()
    validate(EditResource, {"version": 0, "version_description": ""}).check()
