"""Nobody sees or changes what belongs to another organisation, and what was deleted or revoked is gone at once."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clients import CLIENT_SECONDS, Key, new_key
from tests.support.sonant import HUME_ORGANIZATIONS, Sonant

KINDS = ("prompt", "config", "tool", "voice")
USER, PROJECT = "user-123", "project-456"
SCHEMA = '{"type": "object", "properties": {"city": {"type": "string"}}}'
RESOURCES = re.compile(r"/api/hume/(?:prompts|configs|tools|voices|auth)|/v1/active|/v1/audit")
# The organisations of these tests that are at the voice provider, each with an account of its own there.
OWNER, STRANGER, NEIGHBOUR = HUME_ORGANIZATIONS[-3:]
# These make something of the caller's own and name nothing of anybody else's.
OWN_ONLY = {("get", "/api/hume/auth"), ("post", "/api/hume/tools/dynamic")}


@dataclass
class Organization:
    """An organisation with resources whose texts hold its `secret`, and active sets in every layer."""

    client: httpx.Client
    key: Key
    secret: str = field(default_factory=lambda: f"secret-{uuid.uuid4().hex}")
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def at_hume(self) -> bool:
        """Whether its resources are at the voice provider."""
        return self.key.organization in HUME_ORGANIZATIONS

    def ask(self, method: str, path: str, *, user: str = USER, **fields: Any) -> httpx.Response:
        headers = {**self.key.headers, "x-user-id": user, **fields.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **fields)

    def done(self, method: str, path: str, **fields: Any) -> Any:
        answer = self.ask(method, path, **fields)
        assert answer.is_success, answer.text
        return answer.json()

    def settle(self) -> None:
        """Make one of each kind, and switch all three layers on."""
        prompt = {"name": f"{self.secret} prompt", "text": self.secret}
        self.ids["prompt"] = self.done("POST", "/api/hume/prompts", json=prompt)["prompt"]["id"]
        tool = {"name": f"tool_{uuid.uuid4().hex[:8]}", "parameters": SCHEMA, "description": self.secret}
        self.ids["tool"] = self.done("POST", "/api/hume/tools", json=tool)["tool"]["id"]
        voice = {"name": f"{self.secret} voice"} | ({"generation_id": "g"} if self.at_hume else {})
        self.ids["voice"] = self.done("POST", "/api/hume/voices", json=voice)["voice"]["id"]
        config = {"name": f"{self.secret} config", "evi_version": "3", "prompt": {"id": self.ids["prompt"]}}
        self.ids["config"] = self.done("POST", "/api/hume/configs", json=config)["config"]["id"]
        self.done("PUT", "/api/hume/prompts", params={"id": self.ids["prompt"]}, json={"text": f"{self.secret} again"})
        self.done("PUT", "/v1/active", json={**self.pins(), "projectId": PROJECT, "note": self.secret})
        self.done("PUT", "/v1/active", json={**self.pins(), "projectId": PROJECT})
        self.done("PUT", "/v1/active", params={"layer": "project", "projectId": PROJECT}, json=self.pins())
        self.done("PUT", "/v1/active", params={"layer": "organization"}, json=self.pins())

    def pins(self) -> dict[str, Any]:
        """The body that activates everything it has."""
        return {
            "configId": self.ids["config"],
            "configVersion": 0,
            "promptId": self.ids["prompt"],
            "voiceId": self.ids["voice"],
            "tools": [{"toolId": self.ids["tool"]}],
        }

    def state(self) -> dict[str, Any]:
        """Everything it has, as its own key sees it."""
        paths = [f"/api/hume/{kind}s?page_size=100" for kind in KINDS]
        paths += [f"/api/hume/{kind}s?id={id}&versions=true" for kind, id in self.ids.items()]
        paths += [f"/v1/active{part}" for part in (f"?projectId={PROJECT}", f"/history?projectId={PROJECT}")]
        paths += ["/v1/active?layer=project&projectId=" + PROJECT, "/v1/active?layer=organization", "/v1/audit"]
        # The clock of an answer is that of its filling.
        return {path: {**self.done("GET", path), "clock": None} for path in paths}


@pytest.fixture(scope="module")
def client(sonant: Sonant) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sonant.url, timeout=CLIENT_SECONDS) as opened:
        yield opened


def organization(sonant: Sonant, client: httpx.Client, name: str | None = None) -> Organization:
    return Organization(client, new_key(sonant, name, scopes=["chat", "resources", "admin"]))


@pytest.fixture(scope="module", params=[None, OWNER], ids=["here", "at the provider"])
def owner(request: pytest.FixtureRequest, sonant: Sonant, client: httpx.Client) -> Organization:
    made = organization(sonant, client, request.param)
    made.settle()
    return made


# -- attempts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """One request at what belongs to somebody else."""

    method: str
    template: str
    path: str
    user: str
    params: dict[str, Any]
    json: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)


Fields = st.SearchStrategy[dict[str, Any]]
# A query and a body.
Given = st.SearchStrategy[tuple[dict[str, Any], dict[str, Any] | None]]
users = st.sampled_from([USER, f"{USER}:", USER.upper(), "another"])
projects = st.sampled_from([PROJECT, "default", "another"])
versions = st.integers(0, 2)


def reads(id: str) -> Fields:
    """The query of a read: by id, by version, all versions, the active one, or all."""
    whole: Fields = st.sampled_from([{"id": id}, {"id": id, "versions": "true"}, {}, {"page_number": 1}])
    version: Fields = st.fixed_dictionaries({"id": st.just(id), "version": versions})
    return whole | version | st.fixed_dictionaries({"active": st.just("true"), "projectId": projects})


def pins_of(ids: dict[str, str]) -> Fields:
    """A body that activates what belongs to the owner."""
    return st.fixed_dictionaries(
        {"configId": st.just(ids["config"]), "promptId": st.just(ids["prompt"])},
        optional={
            "configVersion": versions,
            "promptVersion": versions,
            "voiceId": st.just(ids["voice"]),
            "tools": st.just([{"toolId": ids["tool"]}]),
        },
    )


def place(**fields: Any) -> Fields:
    """The query that names a place, and whatever else."""
    more = {name: st.just(value) for name, value in fields.items()}
    within: Fields = st.fixed_dictionaries(
        {"layer": st.sampled_from(["user", "project"]), "projectId": projects, **more}
    )
    return within | st.fixed_dictionaries({"layer": st.just("organization"), **more})


def content(ids: dict[str, str], kind: str) -> dict[str, Any]:
    """A body of a kind that refers to what is not the caller's."""
    contents: dict[str, dict[str, Any]] = {
        "prompt": {"text": "mine now"},
        "config": {"evi_version": "3", "prompt": {"id": ids["prompt"]}},
        "tool": {"parameters": SCHEMA},
        "voice": {},
    }
    return contents[kind]


def of_kind(ids: dict[str, str], kind: str) -> dict[tuple[str, str], Given]:
    """Queries and bodies for the operations on a kind."""
    id, path = ids[kind], f"/api/hume/{kind}s"
    edits: Fields = st.sampled_from([{"name": "mine"}, {"version": 0, "version_description": "mine"}])
    activate: Given = st.tuples(st.just({"setActive": "true"}), pins_of(ids))
    if kind == "config":
        # It is the one kind that refers to others.
        activate |= st.just(({}, {**content(ids, kind), "name": f"n-{uuid.uuid4().hex}"}))
    return {
        ("get", path): st.tuples(reads(id), st.none()),
        ("post", path): activate,
        ("put", path): st.just(({"id": id}, content(ids, kind))),
        ("patch", path): st.tuples(st.just({"id": id}), edits),
        ("delete", path): st.tuples(
            st.fixed_dictionaries({"id": st.just(id)}, optional={"version": versions}), st.none()
        ),
    }


def operations(ids: dict[str, str]) -> dict[tuple[str, str], Given]:
    """For every operation: how its query and body may name what belongs to the owner of `ids`."""
    found: dict[tuple[str, str], Given] = {}
    for kind in KINDS:
        found |= of_kind(ids, kind)
    nothing: st.SearchStrategy[None] = st.none()
    bare: Fields = st.just({})
    back: Fields = st.fixed_dictionaries({}, optional={"revision": st.integers(1, 3)})
    out: Fields = st.fixed_dictionaries(
        {"percent": st.sampled_from([0, 50, 100])}, optional={"candidate": pins_of(ids)}
    )
    moment: Fields = st.fixed_dictionaries({"projectId": projects, "time": st.just("2126-01-01T00:00:00Z")})
    return found | {
        ("post", "/api/hume/tools/dynamic/{id}/promote"): st.tuples(bare, nothing),
        ("post", "/api/hume/tools/dynamic/{id}/disable"): st.tuples(bare, nothing),
        ("get", "/v1/active"): st.tuples(place(), nothing),
        ("put", "/v1/active"): st.tuples(place(), pins_of(ids)),
        ("delete", "/v1/active"): st.tuples(place(), nothing),
        ("get", "/v1/active/history"): st.tuples(place(), nothing),
        ("get", "/v1/active/diff"): st.tuples(place(old=1, new=2), nothing),
        ("get", "/v1/active/at"): st.tuples(moment, nothing),
        ("post", "/v1/active/rollback"): st.tuples(place(), back),
        ("post", "/v1/active/rollout"): st.tuples(place(), out),
        ("post", "/v1/active/tools"): st.tuples(place(), st.just({"toolId": ids["tool"]})),
        ("delete", "/v1/active/tools"): st.tuples(place(toolId=ids["tool"]), nothing),
        ("get", "/v1/audit"): st.tuples(bare, nothing),
    }


def attempts(ids: dict[str, str]) -> st.SearchStrategy[Attempt]:
    table = operations(ids)

    @st.composite
    def one(draw: st.DrawFn) -> Attempt:
        method, template = draw(st.sampled_from(sorted(table)))
        params, body = draw(table[method, template])
        seen = draw(st.none() | st.integers(0, 3)) if template.startswith("/v1/active") and method != "get" else None
        headers = {} if seen is None else {"If-Match": f'"{seen}"'}
        path = template.replace("{id}", ids["tool"])
        return Attempt(method, template, path, draw(users), params, body, headers)

    return one()


def send(stranger: Organization, attempt: Attempt) -> httpx.Response:
    fields: dict[str, Any] = {"params": attempt.params, "headers": attempt.headers}
    if attempt.json is not None:
        fields["json"] = attempt.json
    return stranger.ask(attempt.method, attempt.path, user=attempt.user, **fields)


def rows(answer: httpx.Response) -> list[Any]:
    """What a list holds."""
    body = answer.json()
    return [row for value in body.values() if isinstance(value, list) for row in value]


SEARCH = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def test_every_operation_is_tried(sonant: Sonant, owner: Organization) -> None:
    document = httpx.get(f"{sonant.url}/openapi.json").json()
    known = {(method, path) for path, item in document["paths"].items() if RESOURCES.match(path) for method in item}
    assert set(operations(owner.ids)) | OWN_ONLY == known


def test_an_organisation_with_nothing_gets_nothing(sonant: Sonant, client: httpx.Client, owner: Organization) -> None:
    stranger, before = organization(sonant, client, STRANGER if owner.at_hume else None), owner.state()

    @SEARCH
    @given(attempts(owner.ids))
    def attempt(one: Attempt) -> None:
        answer = send(stranger, one)
        assert owner.secret not in answer.text
        if answer.status_code == 200:
            assert one.method == "get", (one, answer.text)
            assert rows(answer) == [], (one, answer.text)
        else:
            # Voices have no versions: that is said before anything is looked up.
            unseen = "voices" in one.path or answer.json()["error"]["code"] == "unknown_reference"
            assert answer.status_code in ({400, 404, 409, 412} if unseen else {404, 409, 412}), (one, answer.text)

    attempt()
    assert owner.state() == before
    for kind in KINDS:
        assert stranger.done("GET", f"/api/hume/{kind}s")[f"{kind}s"] == []


def test_the_same_user_and_project_of_two_organisations_never_meet(
    sonant: Sonant, client: httpx.Client, owner: Organization
) -> None:
    neighbour, before = organization(sonant, client, NEIGHBOUR if owner.at_hume else None), owner.state()
    neighbour.settle()

    @SEARCH
    @given(attempts(owner.ids))
    def attempt(one: Attempt) -> None:
        answer = send(neighbour, one)
        assert owner.secret not in answer.text
        assert answer.status_code < 500, (one, answer.text)

    attempt()
    assert owner.state() == before


def test_users_and_projects_of_one_organisation_have_sets_of_their_own(sonant: Sonant, client: httpx.Client) -> None:
    shop = organization(sonant, client)
    shop.settle()
    for layer in ({"layer": "project", "projectId": PROJECT}, {"layer": "organization"}):
        shop.done("DELETE", "/v1/active", params=layer)
    for user, project in ((USER, "another"), ("another", PROJECT), (USER.upper(), PROJECT), (f"{USER}:", PROJECT)):
        answer = shop.ask("GET", "/v1/active", user=user, params={"projectId": project})
        assert answer.status_code == 404, (user, project)
    assert shop.done("GET", "/v1/active", params={"projectId": PROJECT})["layer"] == "user"


def test_a_token_opens_the_account_of_its_organisation_alone(sonant: Sonant, client: httpx.Client) -> None:
    mark = uuid.uuid4().hex
    opened = {}
    for name in (STRANGER, NEIGHBOUR):
        shop = organization(sonant, client, name)
        token = shop.done("GET", "/api/hume/auth")["accessToken"]
        headers = {"Authorization": f"Bearer {token}", "content-type": "application/json"}
        opened[name] = httpx.Client(base_url=f"{sonant.sandbox_url}/v0/evi", headers=headers)
    with opened[STRANGER] as one, opened[NEIGHBOUR] as other:
        made = one.post("/prompts", json={"name": mark, "text": mark})
        assert made.is_success, made.text
        assert mark in one.get("/prompts", params={"page_size": 100}).text
        assert mark not in other.get("/prompts", params={"page_size": 100}).text
        assert other.get(f"/prompts/{made.json()['id']}/version/0").status_code == 404
        assert one.delete(f"/prompts/{made.json()['id']}").is_success


# -- what is gone ---------------------------------------------------------------------------------------------------


def test_a_deleted_resource_is_gone_from_every_read(sonant: Sonant, client: httpx.Client) -> None:
    shop = organization(sonant, client)
    made = shop.done("POST", "/api/hume/prompts", json={"name": "short-lived", "text": shop.secret})["prompt"]
    shop.done("PUT", "/api/hume/prompts", params={"id": made["id"]}, json={"text": f"{shop.secret} 2"})
    reads = [{"id": made["id"]}, {"id": made["id"], "version": 0}, {"id": made["id"], "versions": "true"}]
    for query in reads:
        assert shop.secret in shop.ask("GET", "/api/hume/prompts", params=query).text
    shop.done("DELETE", "/api/hume/prompts", params={"id": made["id"], "version": 0})
    answers = [shop.ask("GET", "/api/hume/prompts", params=query).status_code for query in reads]
    assert answers == [200, 404, 200]
    shop.done("DELETE", "/api/hume/prompts", params={"id": made["id"]})
    for query in reads:
        answer = shop.ask("GET", "/api/hume/prompts", params=query)
        assert answer.status_code == 404
        assert shop.secret not in answer.text
    assert shop.done("GET", "/api/hume/prompts")["prompts"] == []


def test_what_an_active_set_uses_cannot_be_deleted_and_a_cleared_set_is_gone(
    sonant: Sonant, client: httpx.Client
) -> None:
    shop = organization(sonant, client)
    shop.settle()
    for kind in ("prompt", "config", "tool"):
        answer = shop.ask("DELETE", f"/api/hume/{kind}s", params={"id": shop.ids[kind]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "in_use")
        assert USER in answer.text
    where = {"projectId": PROJECT}
    assert shop.done("GET", "/v1/active", params=where)["layer"] == "user"
    shop.done("DELETE", "/v1/active", params=where)
    assert shop.done("GET", "/v1/active", params=where)["layer"] == "project"
    shop.done("DELETE", "/v1/active", params={"layer": "project", **where})
    assert shop.done("GET", "/v1/active", params=where)["layer"] == "organization"
    shop.done("DELETE", "/v1/active", params={"layer": "organization"})
    assert shop.ask("GET", "/v1/active", params=where).status_code == 404
    for kind in ("config", "prompt", "tool"):
        shop.done("DELETE", f"/api/hume/{kind}s", params={"id": shop.ids[kind]})


def test_a_revoked_key_reads_nothing_more(sonant: Sonant, client: httpx.Client) -> None:
    shop = organization(sonant, client)
    shop.settle()
    assert shop.ask("GET", "/v1/active", params={"projectId": PROJECT}).status_code == 200
    revoked = client.delete(f"/v1/admin/keys/{shop.key.id}", headers=sonant.headers)
    assert revoked.status_code == 200
    for path in ("/v1/active", "/v1/audit", *(f"/api/hume/{kind}s" for kind in KINDS)):
        answer = shop.ask("GET", path)
        assert answer.status_code == 401
        assert shop.secret not in answer.text
