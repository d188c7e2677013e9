"""What a newcomer types from the pages in the first hour, as it stands there."""

import shutil
import uuid
from pathlib import Path

import httpx
import pytest

from tests.support.clients import new_key
from tests.support.media_files import voice, wav
from tests.support.page_examples import PYTHON, SHELL, Reader, blocks
from tests.support.sonant import ROOT, Sonant

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages speak curl")


@pytest.fixture
def reader(sonant: Sonant, tmp_path: Path) -> Reader:
    return Reader.at(tmp_path, sonant)


def surrounded(sonant: Sonant, block: str, **given: str) -> str:
    """A block behind what its page takes for granted: a key, addresses, and the command on the path."""
    variables = {
        "KEY": sonant.key,
        "SONANT": sonant.url,
        "SONANT_URL": sonant.url,
        "SONANT_API_KEY": sonant.key,
        "SONANT_DATA_DIR": str(sonant.data_dir),
        **given,
    }
    lines = [f"export {name}='{value}'" for name, value in variables.items()]
    return "\n".join([*lines, f"export PATH={ROOT / '.venv' / 'bin'}:$PATH", block])


def test_the_first_request_of_the_readme(reader: Reader) -> None:
    curl = blocks("../README.md", "sh")[1]
    assert "[DONE]" in reader.types(SHELL, curl)


def test_the_python_block_of_the_readme(reader: Reader) -> None:
    (program,) = blocks("../README.md", "python")
    assert reader.types(PYTHON, program).strip()


@pytest.mark.parametrize("number", range(3))
def test_the_programs_among_the_recipes(reader: Reader, number: int) -> None:
    assert "all fine" in reader.types(PYTHON, blocks("recipes.md", "python")[number])


def test_keys_are_made_listed_rotated_and_revoked(reader: Reader, sonant: Sonant) -> None:
    (block,) = blocks("keys.md", "sh")
    made = new_key(sonant)
    told = reader.types(SHELL, surrounded(sonant, block.replace("KEY_ID", made.id)))
    assert made.id in told


def test_a_request_is_found_in_the_logs(reader: Reader, sonant: Sonant) -> None:
    (block,) = blocks("observe.md", "sh")
    told = reader.types(SHELL, surrounded(sonant, block))
    assert '"event":"request answered"' in told


def test_a_user_is_deleted(reader: Reader, sonant: Sonant) -> None:
    (block,) = blocks("data.md", "sh")
    told = reader.types(SHELL, surrounded(sonant, block))
    assert '"error"' not in told, told


def test_usage_is_shown(reader: Reader, sonant: Sonant) -> None:
    (block,) = blocks("usage.md", "sh")
    assert '"prompt_tokens"' in reader.types(SHELL, surrounded(sonant, block))


def test_files_are_uploaded(reader: Reader, sonant: Sonant) -> None:
    (reader.folder / "voice.wav").write_bytes(wav(voice(1.0)))
    block = blocks("assets.md", "sh")[0]
    assert reader.types(SHELL, surrounded(sonant, block)).count('"object":"asset"') == 2


def test_a_text_is_spoken_in_both_ways(reader: Reader, sonant: Sonant) -> None:
    (program,) = blocks("speech.md", "python")
    reader.types(PYTHON, program)
    assert (reader.folder / "welcome.wav").stat().st_size > 1000
    (curl,) = blocks("speech.md", "bash")
    assert '"error"' not in reader.types(SHELL, surrounded(sonant, curl))


def test_an_interaction_is_reported(reader: Reader, sonant: Sonant) -> None:
    make, report = blocks("telemetry.md", "bash")[:2]
    assert "sk-sonant-" in reader.types(SHELL, surrounded(sonant, make))
    key = new_key(sonant, organization="acme", scopes=["ingest"])
    assert "accepted" in reader.types(SHELL, surrounded(sonant, report, INGEST_KEY=key.text))


def test_an_answer_is_interrupted(reader: Reader, sonant: Sonant) -> None:
    (block,) = blocks("sessions.md", "sh")
    session, long = f"call-{uuid.uuid4().hex}", f"Say: {' '.join(map(str, range(500)))}"
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": long}]}
    headers = {**sonant.headers, "x-session-id": session}
    with httpx.stream("POST", f"{sonant.url}/v1/chat/completions", headers=headers, json=body, timeout=30) as answer:
        # Kept: a generator that is let go of closes the connection.
        lines = answer.iter_lines()
        assert next(lines).startswith("id:"), answer.status_code
        assert '"receipts"' in reader.types(SHELL, surrounded(sonant, block, SESSION=session))


def test_the_log_of_make_run_is_found(reader: Reader) -> None:
    (block,) = blocks("events.md", "sh")
    assert "://" in reader.types(SHELL, f"{block}\necho $SONANT_LOG_URL")
