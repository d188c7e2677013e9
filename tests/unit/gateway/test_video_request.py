"""Videos asked for: every model takes what its line of the data file says, and nothing else."""

from typing import Any

import pytest

from common.failures import Refused
from gateway.http.validation import validate
from gateway.media.video_models import Steps, video_models
from gateway.media.video_request import VideoBody

MODELS = video_models()


def refusal(**given: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        validate(VideoBody, {"prompt": "a kite", **given}).wanted()
    assert raised.value.status == 400
    return raised.value


def wanted(**given: Any) -> Any:
    return validate(VideoBody, {"prompt": "a kite", **given}).wanted()


@pytest.mark.parametrize("model", MODELS.models)
def test_what_a_model_takes_by_default_is_what_it_takes(model: str) -> None:
    known = MODELS.models[model]
    found = wanted(model=model)
    assert found.duration in known.durations
    assert (found.width, found.height) in next(iter(known.sizes.values()))
    for resolution in known.sizes:
        again = wanted(model=model, resolution=resolution)
        assert (again.width, again.height) == known.sizes[resolution][0]
    assert all(side % 8 == 0 for sizes in known.sizes.values() for size in sizes for side in size)


def test_without_a_model_it_is_the_default_one() -> None:
    assert wanted().model == wanted(model="default").model == MODELS.default


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"model": "nobody:1@1"}, "model"),
        ({"duration": 7}, "duration"),
        ({"duration": float("nan")}, "duration"),
        ({"resolution": "1x1"}, "resolution"),
        ({"resolution": "9999999999x9"}, "resolution"),
        ({"resolution": "²x²"}, "resolution"),
        ({"width": 1280}, "height"),
        ({"width": 1281, "height": 720}, "width"),
        ({"width": 1280, "height": 720, "resolution": "720p"}, "resolution"),
        ({"fps": 24}, "fps"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**60}, "seed"),
        ({"prompt": "   "}, "prompt"),
        ({"model": "local", "duration": 0.7}, "duration"),
        ({"model": "local", "width": 130, "height": 96}, "width"),
        ({"seed_image": "http://127.0.0.1/x.png", "model": "local"}, None),
        ({"seed_image": "file:///etc/passwd"}, "seed_image"),
        ({"seed_image": "https://user:pass@example.com/x.png"}, "seed_image"),
        ({"seed_image": "ast_1"}, "seed_image"),
        ({"seed_image": "../../etc/passwd"}, "seed_image"),
    ],
)
def test_what_it_does_not_take_is_named(given: dict[str, Any], param: str | None) -> None:
    if param is None:
        # Addresses are looked at when they are called: a name may lead anywhere by then.
        assert wanted(**given).seed_image == given["seed_image"]
    else:
        assert refusal(**given).param == param


def test_steps_hold_what_lies_on_them() -> None:
    steps = Steps(0.5, 30, 0.5)
    assert 0.5 in steps
    assert 29.5 in steps
    assert 30.5 not in steps
    assert 0.75 not in steps


def test_sizes_may_be_written_as_one_word() -> None:
    found = wanted(model="local", resolution="640x360", fps=25, duration=2.5, seed=7, negative_prompt="rain")
    assert (found.width, found.height, found.fps, found.duration, found.seed) == (640, 360, 25, 2.5, 7)
