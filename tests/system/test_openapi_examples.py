"""What the documentation page sends as it stands, "Try it out" and nothing else, is understood by the gateway."""

import re
from typing import Any

import httpx
import pytest

from tests.support.clients import Key, new_key
from tests.support.sonant import Sonant

SECONDS = 60.0
VARIABLE = re.compile(r"\{(\w+)\}")
SCOPES = ["chat", "resources", "media", "ingest", "admin"]
# What an example needs that a new installation does not have: it is refused for that alone.
NEEDS = {
    "POST /v1/webhooks/endpoints": "webhook_not_verified",  # a server at the address
}
# Answered so on an installation with nothing in it: understood, and there is no such thing yet.
UNDERSTOOD = {200, 201, 202, 401, 404, 409}


@pytest.fixture(scope="module")
def document(sonant: Sonant) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{sonant.url}/openapi.json", timeout=SECONDS).json()
    return found


@pytest.fixture(scope="module")
def visitor(sonant: Sonant) -> Key:
    """A key of an organisation of its own, that may do everything in it."""
    return new_key(sonant, scopes=SCOPES)


def requests(document: dict[str, Any]) -> dict[str, tuple[dict[str, Any], Any]]:
    """Each operation with a JSON body, and the body that the page shows."""
    return {
        f"{method.upper()} {path}": (operation, operation["requestBody"]["content"]["application/json"]["example"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }


def test_every_example_is_understood(sonant: Sonant, document: dict[str, Any], visitor: Key) -> None:
    wrong = {}
    with httpx.Client(base_url=sonant.url, timeout=SECONDS) as http:
        for name, (operation, body) in requests(document).items():
            method, _, path = name.partition(" ")
            shown = {each["name"]: each.get("example") for each in operation["parameters"]}
            filled = path.format_map(
                {variable: shown[variable] or "not-made-yet" for variable in VARIABLE.findall(path)}
            )
            headers = {"x-user-id": "user-123"} if "x-user-id" in shown else {}
            sent = {**body, "organization": visitor.organization} if "organization" in body else body
            answer = http.request(method, filled, json=sent, headers={**visitor.headers, **headers})
            if answer.status_code not in UNDERSTOOD and NEEDS.get(name, "-") not in answer.text:
                wrong[name] = f"{answer.status_code} {answer.text[:300]}"
    assert wrong == {}
