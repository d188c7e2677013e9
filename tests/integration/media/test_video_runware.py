"""Videos by Runware: one task for each clip, whatever goes wrong on the way."""

from typing import Any

import pytest

from tests.support.media import Owner, left_behind
from tests.support.runware import CLIP, SMALL, RunwareSandbox

FIRST = {"task_type": "videoInference"}
LOOK = {"task_type": "getResponse"}


async def made(owner: Owner, prompt: str = "a red kite", **given: Any) -> dict[str, Any]:
    return await owner.ended(await owner.submit(**{**SMALL, "prompt": prompt, **given}))


async def test_a_clip_is_made_copied_and_paid_for_once(owner: Owner, runware: RunwareSandbox) -> None:
    job = await made(owner, **CLIP)
    assert job["state"] == "completed", job
    result = job["result"]
    assert (result["provider"], result["codec"], result["width"], result["height"]) == ("sandbox", "h264", 1280, 720)
    assert abs(result["duration"] - 5) < 0.2
    totals = await runware.totals()
    assert list(totals["charges"].values()) == [1]
    [attempt] = job["attempts"]
    assert attempt["reference"] in totals["submissions"]
    assert attempt["cost_usd"] == job["cost_usd"] == result["cost_usd"] == totals["charged_usd"] > 0
    assert [step["state"] for step in job["steps"]] == ["completed"] * 4
    assert left_behind(owner.world) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "lost", **FIRST},
        {"do": "status-503", "times": 2, **FIRST},
        {"do": "status-429-ra-1", **FIRST},
        {"do": "status-200", **FIRST},
        {"do": "html-502", **FIRST},
        {"do": "reset", "times": 3, **LOOK},
        {"do": "truncated", "times": 2, **LOOK},
        {"do": "html-200", **LOOK},
    ],
    ids=lambda fault: f"{fault['do']} of {fault['task_type']}",
)
async def test_what_passes_costs_nothing_more(owner: Owner, runware: RunwareSandbox, fault: dict[str, Any]) -> None:
    # Every submission that arrives is charged: whoever repeats one pays.
    await runware.arrange(fault, task_seconds=0.2, duplicates="again")
    job = await made(owner)
    assert (job["state"], job["result"]["provider"]) == ("completed", "sandbox"), job
    assert await runware.charges() == [1]


@pytest.mark.parametrize(
    "faults",
    [
        [{"do": "status-503", "times": None}],
        [{"do": "status-402", "times": None, **FIRST}],
        [{"do": "status-401", "times": None}],
    ],
    ids=["away", "no credits", "no key"],
)
async def test_another_makes_it_where_the_provider_cannot(
    owner: Owner, runware: RunwareSandbox, faults: list[dict[str, Any]]
) -> None:
    await runware.arrange(*faults)
    job = await made(owner)
    assert (job["state"], job["result"]["provider"]) == ("completed", "local"), job
    trail = [(attempt["provider"], attempt["outcome"]) for attempt in job["attempts"]]
    assert trail[-1] == ("local", "completed")
    assert trail[0][0] == "sandbox"
    assert trail[0][1] in ("failed", "refused")
    assert await runware.charges() == []


async def test_a_task_that_failed_for_a_while_is_made_by_another(owner: Owner, runware: RunwareSandbox) -> None:
    job = await made(owner, "sandbox:fail-timeoutProvider it did not work")
    assert (job["state"], job["result"]["provider"]) == ("completed", "local")
    assert await runware.charges() == []


@pytest.mark.parametrize(
    ("prompt", "given", "says"),
    [
        ("sandbox:fail-contentModeration no", {}, "contentModeration"),
        ("a kite", {**CLIP, "duration": 7.0}, "Duration"),
        ("a kite", {"model": "no model"}, "AIR"),
    ],
    ids=["what it shows", "its duration", "its model"],
)
async def test_a_refusal_is_the_end(
    owner: Owner, runware: RunwareSandbox, prompt: str, given: dict[str, Any], says: str
) -> None:
    job = await made(owner, prompt, **given)
    assert (job["state"], job["error"]["code"]) == ("failed", "provider_refused")
    assert says in job["error"]["message"]
    assert await runware.charges() == []


@pytest.mark.parametrize("word", ["asset-expired", "asset-garbage"])
async def test_a_result_that_is_lost_is_not_paid_for_again(owner: Owner, runware: RunwareSandbox, word: str) -> None:
    job = await made(owner, f"sandbox:{word} a kite")
    assert (job["state"], job["result"]["provider"]) == ("completed", "local"), job
    assert await runware.charges() == [1]
    assert left_behind(owner.world) == []
