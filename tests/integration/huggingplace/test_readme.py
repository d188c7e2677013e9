"""The examples of the README run as they stand there."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from huggingplace import HuggingPlace
from tests.support.ingest_server import KEY, IngestServer
from tests.support.sonant import ROOT

README = (ROOT / "libs" / "huggingplace" / "README.md").read_text()
# What they take for granted.
SURROUNDINGS: dict[str, Any] = {
    "question": "How did sales develop?",
    "answer": "They rose.",
    "ask": lambda prompt: "They rose.",
    "render": lambda question, documents: question,
    "search": lambda question: [SimpleNamespace(id="doc-1")],
    "redact": lambda text: text,
    "deliver": lambda items: True,
}


def test_every_example_runs(server: IngestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    examples = [each for each in examples if "requests.post" not in each]
    assert len(examples) >= 7
    settings = {"BASE_URL": server.url, "API_KEY": KEY, "ORG_ID": "acme", "SPOOL_DIR": str(tmp_path)}
    for name, value in settings.items():
        monkeypatch.setenv(f"HUGGINGPLACE_{name}", value)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    made: list[HuggingPlace] = []
    with ThreadPoolExecutor(1) as pool:
        namespace = {**SURROUNDINGS, "pool": pool}
        for example in examples:
            exec(example.replace("sk-sonant-example", KEY), namespace)  # noqa: S102 - our own page
            if namespace["client"] not in made:
                made.append(namespace["client"])
    assert all(client.close(10) for client in made)
    kinds = [item.get("kind", "interaction") for item in server.items.values()]
    assert kinds.count("interaction") >= 4
    assert {"step", "score"} <= set(kinds)
    assert any("step_data" in item for item in server.items.values())


def test_a_name_of_the_table_of_migration_is_taken_by_log(server: IngestServer, tmp_path: Path) -> None:
    rows = [line for line in README.splitlines() if line.startswith('| `"')]
    names = {name for row in rows for name in re.findall(r"`(\w+)=`", row)}
    assert len(names) > 10
    values: dict[str, Any] = dict.fromkeys(names, "x")
    values.update(metadata={}, user_metadata={}, step_data=[], response_time=1, token_count=5)
    values.update({name: 5 for name in names if name.endswith("_tokens")})
    with HuggingPlace(KEY, "acme", base_url=server.url, spool_dir=tmp_path) as client:
        client.log(**values)
