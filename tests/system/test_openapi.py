"""The OpenAPI document describes the gateway as it is, and nothing a schema can think of makes it fail."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from tests.support.expected import Expected
from tests.support.openapi import METHODS, UNDOCUMENTED, operations, surface
from tests.support.sonant import Sonant

SCOPES = ["chat", "resources", "media", "ingest", "admin"]
SIGNED = {
    "/webhooks/hume",
    "/webhooks/runware/{token}",
    "/webhooks/hume-batch/{token}",
    "/v1/assets/{id}/content",
    "/v2/exports/{id}/content",
}
# The keys of a webhook endpoint are public: whoever receives has no key of ours.
OPEN = {"/v1/webhooks/endpoints/{id}/jwks.json"}
# These two end keys. Schemathesis learns ids from answers: beside the operation that lists keys they would end the
# key of the run itself. On their own they run in full.
KEY_ENDING = ("revoke_key", "rotate_key")
# These answer for as long as a job runs, of which they would learn ids too.
LASTING = ("watch_job", "watch_export")
ON_THEIR_OWN = (*KEY_ENDING, *LASTING)
Part = str | tuple[str, ...]
# The others in parts, by their tags: all together take minutes.
CHAT = ("chat", "responses", "embeddings")
SESSIONS = ("sessions", "conversations", "admin")
PARTS: tuple[Part, ...] = (
    ("active", "prompts", "auth", "audit"),
    ("configs", "tools"),
    ("voices", "jobs", "providers"),
    ("media", "analyses"),
    ("assets", "songs"),
    ("documents", "vector stores"),
    ("webhooks",),
    ("telemetry", "ingestion"),
)
# Left out: positive_data_acceptance, because some rules are beyond a schema (the span between two days, which
# characters an id may hold, what a number in a header may be) and requests that break them are refused with 400.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
# Enough for each operation to see every kind of bad value once; the coverage phase adds the boundaries.
EXAMPLES = 8
RUN_SECONDS = 400


@pytest.fixture(scope="module")
def document(sonant: Sonant) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{sonant.url}/openapi.json").json()
    return found


def new_key(sonant: Sonant, organization: str) -> str:
    body = {"name": "schemathesis", "organization": organization, "scopes": SCOPES}
    answer = httpx.post(f"{sonant.url}/v1/admin/keys", headers=sonant.headers, json=body)
    key: str = answer.json()["key"]
    return key


def filled(path: str) -> str:
    """The path with something in the place of its variables."""
    return re.sub(r"\{\w+\}", "none", path)


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    loaded = schemathesis.openapi.from_dict(document)
    assert sum(1 for _ in loaded.get_all_operations()) == len(operations(document))


def test_every_documented_path_answers_the_documented_methods_and_no_other(
    sonant: Sonant, document: dict[str, Any]
) -> None:
    for path, item in document["paths"].items():
        refused = httpx.options(sonant.url + filled(path), headers=sonant.headers)
        assert refused.status_code == 405
        allowed = {method.strip().lower() for method in refused.headers["allow"].split(",")}
        assert allowed == {method for method in item if method in METHODS}, path


def test_the_public_surface_is_the_expected_one(document: dict[str, Any], expected: Expected) -> None:
    expected.matches("openapi.json", surface(document))


def test_what_is_served_beside_the_api_needs_no_key(sonant: Sonant) -> None:
    for path, content_type in UNDOCUMENTED.items():
        answer = httpx.get(sonant.url + path)
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, content_type)


def test_every_operation_tells_its_errors_in_the_one_shape(document: dict[str, Any]) -> None:
    for method, path in operations(document):
        told = document["paths"][path][method]
        # Webhooks and links are let in by their signature, not by a key with a scope.
        refusals = set() if path in OPEN else {"401"} if path in SIGNED else {"401", "403"}
        assert {"503", *refusals} <= set(told["responses"])
        assert bool(told["security"]) == (path not in SIGNED | OPEN)
        for status, response in told["responses"].items():
            if status.startswith(("4", "5")):
                assert response == {"$ref": f"#/components/responses/{status}"}
    for response in document["components"]["responses"].values():
        assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_every_operation_is_in_one_part(document: dict[str, Any]) -> None:
    tags = [document["paths"][path][method]["tags"] for method, path in operations(document)]
    assert {len(each) for each in tags} == {1}
    assert sorted({each[0] for each in tags}) == sorted(tag for part in (*PARTS, CHAT, SESSIONS) for tag in part)


@dataclass
class Run:
    """One run of schemathesis, under way."""

    process: "subprocess.Popen[str]"
    output: Path
    key: str

    def ended(self) -> str:
        """What it has written; raises AssertionError where it found something."""
        try:
            code = self.process.wait(RUN_SECONDS)
        finally:
            self.process.kill()
        text = self.output.read_text(errors="replace")
        assert code == 0, text[-8000:]
        return text


def run_of(sonant: Sonant, directory: Path, part: Part) -> Run:
    # Sessions finds what chat has left there.
    key = new_key(sonant, "schemathesis-chat" if part in (CHAT, SESSIONS) else "schemathesis")
    if isinstance(part, str):
        chosen = [f"--include-operation-id={part}"]
    else:
        chosen = [f"--include-tag={tag}" for tag in part]
        chosen += [f"--exclude-operation-id={each}" for each in ON_THEIR_OWN]
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{sonant.url}/openapi.json", *chosen]
    # A generated user would be another one with every request.
    command += ["-H", f"Authorization: Bearer {key}", "-H", "x-user-id: schemathesis"]
    command += ["--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES)]
    # Sequences of operations are left out: those have tests of their own. One worker: generating cases in threads
    # trips over the interpreter's own parser.
    command += ["--phases", "examples,coverage,fuzzing", "--mode", "all", "--workers", "1", "--seed", "1"]
    command += [
        "--continue-on-failure",
        "--no-shrink",
        "--suppress-health-check",
        "all",
        "--request-timeout",
        "30",
        "--warnings",
        "off",
    ]
    output = directory / "schemathesis.out"
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=directory, stdout=file, stderr=subprocess.STDOUT, text=True)
    return Run(process, output, key)


@pytest.fixture(scope="module")
def chat_run(sonant: Sonant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The run that mostly waits, beside the others: an answer that nobody knows is asked for during seconds."""
    run = run_of(sonant, tmp_path_factory.mktemp("chat"), CHAT)
    yield run
    run.process.kill()
    run.process.wait()


@pytest.mark.parametrize(
    "part", [*PARTS, *ON_THEIR_OWN, CHAT, SESSIONS], ids=lambda part: part if isinstance(part, str) else part[0]
)
def test_schemathesis_finds_nothing(sonant: Sonant, tmp_path: Path, chat_run: Run, part: Part) -> None:
    run = chat_run if part is CHAT else run_of(sonant, tmp_path, part)
    assert "No issues found" in run.ended()
    # A run whose key had ended would have tested nothing but that.
    mine = httpx.get(f"{sonant.url}/v1/models", headers={"Authorization": f"Bearer {run.key}"})
    assert mine.status_code == 200
