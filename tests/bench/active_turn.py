"""`python -m tests.bench.active_turn`: what an active set, prosody and 30 messages of history add to the first chunk.

Turns of the three kinds are asked one at a time, in turns, over one kept connection, so that whatever else the machine
does meets all of them alike.
"""

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from tests.bench.load import FIRST_WORD, percentile
from tests.bench.system import bench_upstream, scratch_directory, sonant_up, write_models_file

AIM_MS = 3.0
PROJECT = "bench"
MESSAGES = 30
NAMES = [f"Emotion {number}" for number in range(48)]
PROMPT = "You are {{name}}, who helps people of {{city}}. It is {{now}}. " + "Be brief and kind. " * 100
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CONFIG = {
    "evi_version": "3",
    "language_model": {"model_provider": "OPEN_AI", "model_resource": "gpt-4o-mini", "temperature": 0.5},
    "prosody": {"number": 3, "tokens": 40},
    "variables": {"name": {"default": "Ada"}, "city": {"required": True}},
    "flags": {"new_voice": True},
}


@dataclass(frozen=True)
class Kind:
    """A kind of turn: what is sent, and with which headers."""

    name: str
    path: str
    body: bytes
    headers: Mapping[str, str]


def kinds(key: str) -> list[Kind]:
    """A plain turn; one with 30 messages; and one with those, prosody and the active set."""
    rng = random.Random(5)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    hello = [{"role": "user", "content": "Tell me something."}]
    spoken = [
        {"role": ("user", "assistant")[at % 2], "content": " ".join(rng.choices(PROMPT.split(), k=25))}
        for at in range(MESSAGES - 1)
    ]
    measured = [
        {**message, "models": {"prosody": {"scores": {name: rng.random() for name in NAMES}}}}
        if message["role"] == "user"
        else message
        for message in spoken
    ]
    path = "/v1/chat/completions"
    return [
        Kind("plain, 1 message", path, _body(hello), headers),
        Kind(f"plain, {MESSAGES} messages", path, _body(spoken), headers),
        Kind(
            f"active set, prosody, {MESSAGES} messages",
            "/v1/dialects/hume/chat/completions",
            _body(measured, variables={"city": "Bern"}),
            {**headers, "x-project-id": PROJECT},
        ),
    ]


def _body(messages: Sequence[Any], **fields: Any) -> bytes:
    return orjson.dumps({"model": "default", "stream": True, "messages": messages, **fields})


def switch_on(api: httpx.Client, key: str) -> None:
    """The active set of the project."""
    headers = {"authorization": f"Bearer {key}", "x-user-id": "bench"}

    def made(kind: str, **body: Any) -> str:
        answer = api.post(f"/api/hume/{kind}s", headers=headers, json=body).raise_for_status()
        return str(answer.json()[kind]["id"])

    config, prompt = made("config", name="bench", **CONFIG), made("prompt", name="bench", text=PROMPT)
    tools = [{"toolId": made("tool", name=f"tool_{number}", parameters=TOOL)} for number in range(3)]
    pins = {"projectId": PROJECT, "configId": config, "promptId": prompt, "tools": tools}
    api.put("/v1/active?layer=project", headers=headers, json=pins).raise_for_status()


def first_chunk(api: httpx.Client, kind: Kind) -> float:
    """Milliseconds until the first word of one turn, which is read to its end."""
    began = time.perf_counter()
    took = 0.0
    with api.stream("POST", kind.path, content=kind.body, headers=dict(kind.headers)) as answer:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            if not took and FIRST_WORD in piece:
                took = (time.perf_counter() - began) * 1000
    assert took, "no word came"
    return took


@contextmanager
def system() -> Iterator[tuple[str, str]]:
    """The address of a whole Sonant before the bench upstream, and its key."""
    with scratch_directory() as scratch, bench_upstream() as upstream:
        models_file = write_models_file(scratch / "models.toml", upstream.url)
        with sonant_up(scratch / "data", models_file, None, {}) as running:
            yield running.target.url, running.target.key


def measure(url: str, key: str, turns: int) -> bool:
    """Print a line for each kind; whether the aim was met."""
    with httpx.Client(base_url=url, timeout=30) as api:
        switch_on(api, key)
        asked = kinds(key)
        for kind in asked:
            for _ in range(20):
                first_chunk(api, kind)
        took: dict[str, list[float]] = {kind.name: [] for kind in asked}
        for _ in range(turns):
            for kind in asked:
                took[kind.name].append(first_chunk(api, kind))
    base = took[asked[0].name]
    print(f"{'first chunk of a turn':40} | {'p50':>7} | {'p99':>7} | adds p50")
    for name, values in took.items():
        # Of each round the difference: what slows a round slows all its turns.
        adds = percentile([value - before for value, before in zip(values, base, strict=True)], 0.5)
        print(f"{name:40} | {percentile(values, 0.5):7.2f} | {percentile(values, 0.99):7.2f} | {adds:+.2f} ms")
    met = adds <= AIM_MS
    print(f"aim: the last adds at most {AIM_MS:g} ms: {'ok' if met else 'missed'}")
    return met


def main() -> None:
    """Start a system, measure, and end it. The exit code says nothing of times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=300, help="of each kind")
    options = parser.parse_args()
    with system() as (url, key):
        measure(url, key, options.turns)


if __name__ == "__main__":
    main()
