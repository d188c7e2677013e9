"""Every block of code on the pages runs in a test, or stands here with the reason why not."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_stream.aliases import AliasTable
from tests.support.sonant import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "libs/*/README.md", "tests/**/README.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)

FIRST = "tests/system/test_docs_first_hour.py"
HERE = "tests/contract/test_page_blocks.py"
# Why a block runs in no test. A word in front says what it is.
PICTURE = "picture: a diagram, drawn by the reader's viewer"
SHAPE = "shape: what a request or an answer looks like, with parts left out"
STARTS = "start: starts the whole system, as `sonant_system` does for the system tests"
DOCKER = "docker: needs Docker, which the tests do without; tests/contract/deploy looks at the files"
JAVA = "java: starts a broker, as the tests of Kafka do by the same file"
OUTSIDE = "outside: names a server of the reader's, or ids that the reader got before"
OPERATOR = (
    "operator: shows what the reader's own apps have reported; tests/system/test_ingest.py reads the same over HTTP"
)
EXPORT = "operator: months that the reader has; tests/system/test_interaction_exports.py types the command"
LOCAL = "fetch: gets 93 MB once and starts a system of its own, as tests/system/test_local_model.py does"
COVERED = "covered: the same request, with other values, is in "

# For each page its blocks in order: the test that runs it, or the reason.
BLOCKS: dict[str, list[str]] = {
    "README.md": [
        PICTURE,
        STARTS,
        FIRST,
        FIRST,
        LOCAL,
        "start: the suite itself",
        "tests/system/test_talk_time.py",
    ],
    "deploy/README.md": [DOCKER, HERE, HERE, DOCKER],
    "docs/architecture.md": [PICTURE, PICTURE],
    "docs/assets.md": [FIRST, SHAPE, OUTSIDE],
    "docs/backup-and-restore.md": [
        "tests/system/test_restore.py",
        "tests/system/test_restore.py",
        "tests/system/test_restore.py",
        "tests/system/test_restore.py",
        DOCKER,
    ],
    "docs/compatibility.md": [HERE],
    "docs/content.md": ["tests/system/test_docs_content.py", "tests/system/test_docs_content.py", SHAPE],
    "docs/context.md": [HERE, "tests/system/test_session_summaries.py", SHAPE],
    "docs/creator.md": ["tests/system/test_docs_songs.py", "tests/system/test_docs_songs.py"],
    "docs/data.md": [FIRST],
    "docs/durability.md": [HERE],
    "docs/engines.md": ["engine: a line for the reader's own Valkey", SHAPE],
    "docs/events.md": ["tests/system/test_docs_events.py", FIRST],
    "docs/guards.md": ["tests/system/test_docs_guards.py", HERE, SHAPE],
    "docs/kafka.md": [JAVA, JAVA],
    "docs/keys.md": [FIRST, "sql: lets a key be made again; tests/integration/gateway/test_keys_set_up.py does it"],
    "docs/media.md": ["tests/system/test_docs_media.py", SHAPE, OUTSIDE, SHAPE],
    "docs/models.md": [HERE, HERE, LOCAL],
    "docs/observe.md": [FIRST],
    "docs/recipes.md": [FIRST, FIRST, FIRST],
    "docs/resources.md": [
        "tests/system/test_docs_resources.py",
        "tests/system/test_docs_resources.py",
        "tests/system/test_docs_resources.py",
        "tests/system/test_docs_resources.py",
        "tests/system/test_docs_resources.py",
        "settings: lines of an environment file; tests/contract/deploy compares the names",
        "outside: copies an account at Hume; tests/system/test_resources_provider_gone.py does it from the sandbox",
        "tests/system/test_docs_resources.py",
    ],
    "docs/retrieval.md": [
        "tests/system/test_docs_retrieval.py",
        "tests/system/test_docs_retrieval.py",
        SHAPE,
        f"{COVERED}tests/system/test_vector_stores.py",
    ],
    "docs/sessions.md": [
        "tests/system/test_docs_sessions.py",
        SHAPE,
        "tests/system/test_docs_sessions.py",
        FIRST,
        SHAPE,
    ],
    "docs/songs.md": [SHAPE, *["tests/system/test_docs_songs.py"] * 3],
    "docs/speech.md": [FIRST, FIRST, SHAPE],
    "docs/telemetry.md": [
        FIRST,
        FIRST,
        SHAPE,
        SHAPE,
        f"{COVERED}tests/system/test_ingest_traces.py",
        OPERATOR,
        SHAPE,
        EXPORT,
        SHAPE,
    ],
    "docs/talk-time.md": ["tests/unit/resources/test_validation.py"],
    "docs/tools.md": [
        "tests/system/test_docs_tools.py",
        "tests/system/test_docs_tools.py",
        "server: serves until it is ended, for a tool of the reader's",
        "package: an entry in the pyproject.toml of the reader's own package",
        HERE,
    ],
    "docs/usage.md": [FIRST],
    "docs/voice-platforms.md": [
        SHAPE,
        "tests/system/test_docs_voice_platforms.py",
        SHAPE,
        "caller: a call by voice from the terminal; tests/system/test_voice_sessions.py holds such calls",
        "tests/system/test_docs_voice_platforms.py",
    ],
    "docs/webhooks.md": [f"{COVERED}tests/system/test_webhooks_out.py", SHAPE, HERE, OUTSIDE],
    "libs/huggingplace/README.md": ["tests/integration/huggingplace/test_readme.py"] * 9,
    "tests/README.md": ["layout: a tree of folders"],
}


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Language and text of each."""
    return FENCE.findall((ROOT / page).read_text())


def here(language: str) -> list[Any]:
    return [
        pytest.param(text, id=f"{page}-{number}")
        for page, treated in BLOCKS.items()
        for number, ((found, text), how) in enumerate(zip(blocks_of(page), treated, strict=False), 1)
        if how == HERE and found == language
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_treated(page: str) -> None:
    blocks, treated = blocks_of(page), BLOCKS.get(page, [])
    assert len(blocks) == len(treated), f"{page} has {len(blocks)} blocks, and {len(treated)} are listed"
    for how in treated:
        word, _, reason = how.partition(": ")
        assert reason.strip() or (ROOT / how).is_file(), f"{page}: {how} is neither a test nor a reason"
        if not reason and how != HERE:
            assert Path(page).name in (ROOT / how).read_text(), f"{how} does not read {page}"
        assert word


@pytest.mark.parametrize("text", here("toml"))
def test_a_piece_of_a_models_file_is_read(text: str) -> None:
    table = tomllib.loads(text)
    for alias in table["aliases"].values():
        alias.setdefault("upstreams", [{"name": "any", "base_url": "http://127.0.0.1/v1", "model": "any"}])
    AliasTable.model_validate(table)


@pytest.mark.parametrize("text", here("yaml"))
def test_an_override_names_services_of_compose(text: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert yaml.safe_load(text)["services"].keys() <= compose["services"].keys()


@pytest.mark.parametrize("text", here("python"))
def test_a_program_without_a_system_runs(text: str) -> None:
    exec(compile(text, "page", "exec"), {})  # noqa: S102 - our own page
