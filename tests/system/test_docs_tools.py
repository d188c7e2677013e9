"""The guide to tools: its examples work as typed."""

import shutil
from pathlib import Path

import httpx
import pytest

from tests.support.page_examples import PYTHON, SHELL, Reader, blocks
from tests.support.sonant import Sonant

PAGE = "tools.md"


@pytest.fixture
def reader(sonant: Sonant, tmp_path: Path) -> Reader:
    return Reader.at(tmp_path, sonant)


def test_a_request_names_a_tool_and_hears_its_result(reader: Reader) -> None:
    assert "59.97" in reader.types(PYTHON, blocks(PAGE, "python")[0])


@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide speaks curl")
def test_the_active_set_brings_tools_and_shows_no_secret(reader: Reader) -> None:
    (shell,) = blocks(PAGE, "sh")
    # What the answer to the tool's creation shows is looked at beside.
    told = reader.types(SHELL, shell + '\napi GET "/api/hume/tools?id=$ORDER"')
    assert '"error"' not in told, told
    assert "5.7" in told
    assert '"secret":"sealed:' in told
    assert "c29tZXRoaW5n" not in told


def test_a_sealed_secret_of_somebody_else_is_refused(sonant: Sonant) -> None:
    run = {"url": "https://shop.example/", "secret": "sealed:AAAABBBBCCCCDDDDEEEEFFFF"}
    answer = httpx.post(
        f"{sonant.url}/api/hume/tools",
        headers={
            "Authorization": f"Bearer {(sonant.data_dir / 'admin-key').read_text().strip()}",
            "x-user-id": "user-123",
        },
        json={"name": "order", "parameters": {"type": "object"}, "run": run},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "secret_not_kept")
    assert answer.json()["error"]["param"] == "run.secret"
