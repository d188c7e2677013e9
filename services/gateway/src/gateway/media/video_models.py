"""The models that make videos, read from their data file, and whether a request fits one."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gateway.http.errors import bad_request

# What a rendered clip may be: encoders want even numbers, and more than this takes minutes for each second.
MIN_SIDE, MAX_SIDE = 64, 1920
SIDE_STEP = 8


@dataclass(frozen=True, slots=True)
class Steps:
    """Numbers from one to another in equal steps."""

    first: float
    last: float
    step: float

    def __contains__(self, value: float) -> bool:
        parts = (value - self.first) / self.step
        return self.first <= value <= self.last and abs(parts - round(parts)) < 1e-6

    def __str__(self) -> str:
        return f"{self.first:g} to {self.last:g} in steps of {self.step:g}"


@dataclass(frozen=True, slots=True)
class VideoModel:
    """One model; sizes are (width, height) by resolution, the first of them the default."""

    id: str
    name: str
    durations: Steps | Sequence[float]
    sizes: dict[str, Sequence[tuple[int, int]]]
    fps: Sequence[int]
    seed_image: bool
    any_size: bool

    @property
    def default_duration(self) -> float:
        """5 seconds where that is allowed, else the shortest."""
        shortest = self.durations.first if isinstance(self.durations, Steps) else min(self.durations)
        return 5.0 if 5.0 in self.durations else float(shortest)

    def duration(self, wanted: float | None) -> float:
        """Raises Refused (400)."""
        if wanted is None:
            return self.default_duration
        if wanted not in self.durations:
            allowed = str(self.durations) if isinstance(self.durations, Steps) else _listed(self.durations)
            raise bad_request(f"Invalid 'duration': {self.id} takes {allowed} seconds.", "duration", "invalid_value")
        return wanted

    def size(self, resolution: str | None, width: int | None, height: int | None) -> tuple[int, int]:
        """Width and height. Raises Refused (400)."""
        if (width is None) != (height is None):
            missing = "width" if width is None else "height"
            raise bad_request(
                f"Missing '{missing}': give both, or a resolution.", missing, "missing_required_parameter"
            )
        if width is None or height is None:
            return self._of_resolution(resolution)
        if resolution is not None:
            raise bad_request("Invalid 'resolution': it goes without 'width' and 'height'.", "resolution")
        return self._exact(width, height)

    def _of_resolution(self, resolution: str | None) -> tuple[int, int]:
        if resolution is None:
            return next(iter(self.sizes.values()))[0]
        if resolution in self.sizes:
            return self.sizes[resolution][0]
        named, _, other = resolution.lower().partition("x")
        if named.isdecimal() and other.isdecimal() and len(resolution) <= 11:
            return self._exact(int(named), int(other), "resolution")
        message = f"Invalid 'resolution': {self.id} takes {', '.join(self.sizes)}, or WIDTHxHEIGHT."
        raise bad_request(message, "resolution", "invalid_value")

    def _exact(self, width: int, height: int, param: str = "width") -> tuple[int, int]:
        known = [size for sizes in self.sizes.values() for size in sizes]
        if (width, height) in known:
            return width, height
        if not self.any_size:
            allowed = ", ".join(f"{each[0]}x{each[1]}" for each in known)
            raise bad_request(f"Invalid '{param}': {self.id} takes {allowed}.", param, "invalid_value")
        if any(not MIN_SIDE <= side <= MAX_SIDE or side % SIDE_STEP for side in (width, height)):
            message = f"Invalid '{param}': sides are {MIN_SIDE} to {MAX_SIDE} pixels, in steps of {SIDE_STEP}."
            raise bad_request(message, param, "invalid_value")
        return width, height

    def rate(self, wanted: int | None) -> int | None:
        """Frames a second. Raises Refused (400)."""
        if wanted is not None and wanted not in self.fps:
            allowed = f"takes {_listed(self.fps)}" if self.fps else "chooses it itself"
            raise bad_request(f"Invalid 'fps': {self.id} {allowed}.", "fps", "invalid_value")
        return wanted


@dataclass(frozen=True, slots=True)
class VideoModels:
    """All of them."""

    default: str
    models: dict[str, VideoModel]

    def get(self, wanted: str | None) -> VideoModel:
        """Raises Refused (400) for one that is not there."""
        found = self.models.get(self.default if wanted in (None, "default") else str(wanted))
        if found is None:
            message = f"There is no model '{wanted}' for videos; GET /v1/media/video/models lists those there are."
            raise bad_request(message, "model", "model_not_found")
        return found


@cache
def video_models() -> VideoModels:
    """What the data file holds. Raises KeyError or ValueError where it is wrong."""
    data = tomllib.loads(files("gateway.media").joinpath("video_models.toml").read_text())
    sizes = {name: [_size(each) for each in given] for name, given in data["sizes"].items()}
    models = {id: _model(id, given, sizes) for id, given in data["models"].items()}
    if data["default"] not in models:
        raise ValueError(f"the default {data['default']} is none of the models")
    return VideoModels(data["default"], models)


def _model(id: str, given: dict[str, Any], sizes: dict[str, list[tuple[int, int]]]) -> VideoModel:
    durations = given["durations"]
    if isinstance(durations, dict):
        durations = Steps(durations["from"], durations["to"], durations["step"])
    return VideoModel(
        id=id,
        name=given["name"],
        durations=durations,
        sizes={name: sizes[name] for name in given["sizes"]},
        fps=given.get("fps", ()),
        seed_image=given["seed_image"],
        any_size=given.get("any_size", False),
    )


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
