"""The plan of a film: the caller's script, one that a model writes and a schema checks, or a template's."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from common.events.creations import MAX_SAID, CreationInput, Scene, Script
from common.failures import ProviderDown, Refused
from common.jobs.work import Work
from media.deps import Deps
from media.metrics import CREATION_FALLBACKS
from media.speech.segments import sentences

# What a model is shown of its mistake; more would not help it.
MAX_MISTAKE = 500
TRIES = 2
TOPIC_WORDS = 8
WRITER = """You write short narrated films. Answer with one JSON object:
{"title": text, "scenes": [{"say": text, "show": text}]}
One to six scenes. "say" is what a narrator speaks, one to three plain sentences. "show" describes one picture in motion
for a video model. Nothing else."""


class Plan(BaseModel):
    """The script, and what went otherwise than was asked."""

    script: Script
    warnings: list[str] = Field(default_factory=list)


async def planned(work: Work[CreationInput, Deps]) -> Plan:
    """The plan; made once. A model that does not deliver is replaced by the template, and the plan says so."""
    return await work.once("plan", lambda: _planned(work), Plan)


async def _planned(work: Work[CreationInput, Deps]) -> Plan:
    wanted = work.input
    if wanted.script is not None:
        return Plan(script=wanted.script)
    if not wanted.written:
        return Plan(script=of_template(wanted))
    writer = work.deps.script_writer
    if writer is None:
        why = "no model that writes scripts is configured"
    else:
        try:
            async with work.attempt(writer.name, "script"):
                return Plan(script=await _written(work))
        except (ProviderDown, Refused) as error:
            why = error.message
    CREATION_FALLBACKS.labels("script", "template").inc()
    return Plan(script=of_template(wanted), warnings=[f"The script is the template's: {why}"])


async def _written(work: Work[CreationInput, Deps]) -> Script:
    writer = work.deps.script_writer
    if writer is None:
        raise ProviderDown("There is no model that writes scripts.")
    conversation = [{"role": "system", "content": WRITER}, {"role": "user", "content": work.input.prompt}]
    for _ in range(TRIES):
        text = await writer.write(conversation)
        try:
            return checked(text, writer.name)
        except ValueError as error:
            mistake = str(error)[:MAX_MISTAKE]
        conversation += [
            {"role": "assistant", "content": text[:MAX_SAID]},
            {"role": "user", "content": f"That is not it: {mistake}. Answer with the JSON object alone."},
        ]
    raise ProviderDown(f"What {writer.name} wrote is no script: {mistake}")


def checked(text: str, by: str) -> Script:
    """A script that a model wrote. Raises ValueError for what is none."""
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("no JSON") from None
    if not isinstance(given, dict):
        raise ValueError("no object")
    try:
        return Script.model_validate({**given, "by": by})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def of_template(wanted: CreationInput) -> Script:
    """The script of a template, filled with the prompt. A long prompt is said in parts, a scene each."""
    template = _templates()[wanted.template]
    words = {"prompt": " ".join(wanted.prompt.split()), "topic": topic_of(wanted.prompt)}
    scenes = list[Scene]()
    for scene in template["scenes"]:
        show = _filled(scene["show"], words)[:3000]
        scenes += [Scene(say=part, show=show) for part in _parts(_filled(scene["say"], words))]
    return Script(
        title=wanted.title or _filled(template["title"], words)[:200],
        scenes=tuple(scenes[:6]),
        by=f"template {wanted.template}",
    )


def topic_of(prompt: str) -> str:
    """The first words of a prompt, without the mark at their end."""
    return " ".join(prompt.split()[:TOPIC_WORDS]).rstrip(".,;:!?")


def _parts(text: str) -> list[str]:
    """A text in parts of whole sentences, each as long as a scene may be."""
    parts = [""]
    for sentence in sentences(text):
        joined = f"{parts[-1]} {sentence}".strip()
        if len(joined) <= MAX_SAID or not parts[-1]:
            parts[-1] = joined[:MAX_SAID]
        else:
            parts.append(sentence[:MAX_SAID])
    return [part for part in parts if part]


def _filled(text: str, words: dict[str, str]) -> str:
    """A text with its places filled. No format string: the prompt may hold braces."""
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@cache
def _templates() -> dict[str, Any]:
    return tomllib.loads(files("media.creator").joinpath("script_templates.toml").read_text())
