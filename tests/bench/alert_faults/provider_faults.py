"""Faults of jobs, providers and receivers: videos that are refused, a folder that is gone, webhooks nobody takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.bench.alert_faults.fault import Fault, Scene
from tests.support.waiting import eventually

REFUSED = 60
# Each of these is tried again and again.
UNPAID = 20
ERRORS = 60
COUNT_SECONDS = 300.0
DRAFTS = 14
MESSAGES = 14
WINDOW_15M = 960.0
WINDOW_30M = 1900.0
WINDOW_1H = 3700.0
# The key of media on a sandbox that stands in.
ACCOUNT = "sandbox"
SETTINGS = {
    "SONANT_VIDEO_PROVIDERS": "runware",
    "SONANT_WEBHOOK_NETWORKS": "127.0.0.0/8",
    "SONANT_WEBHOOK_DELAYS": "0.3,0.3",
    # Nobody listens there.
    "SONANT_MODERATION_URL": "http://127.0.0.1:9/v1",
}


def video(prompt: str) -> dict[str, Any]:
    """The body of a request for a video of the provider's."""
    return {"prompt": prompt, "model": "pixverse:1@1", "duration": 5, "resolution": "360p"}


@asynccontextmanager
async def refused_videos(scene: Scene) -> AsyncIterator[None]:
    """Videos that the provider does not want to make; then an account without money, and some who want videos."""
    account = f"{scene.system.sandbox_url}/sandbox/runware/{ACCOUNT}"
    key = await scene.key("media")
    for number in range(REFUSED):
        await scene.call("POST", "/v1/media/video", key, video(f"sandbox:fail-contentModeration Video {number}."))
    await _counted(scene, 'sum(sonant_jobs_ended_total{kind="video"})', REFUSED)
    plan = {"faults": [{"do": "status-402", "times": None, "task_type": "videoInference"}]}
    async with scene.http.put(account, json=plan) as answer:
        assert answer.status < 300, await answer.text()
    for number in range(UNPAID):
        await scene.call("POST", "/v1/media/video", key, video(f"No money for {number}."))
    try:
        yield
    finally:
        async with scene.http.delete(account):
            pass


async def _counted(scene: Scene, expression: str, least: int) -> None:
    async def enough() -> bool:
        return await scene.value(expression) >= least

    await eventually(enough, timeout=COUNT_SECONDS, interval=1.0)


@asynccontextmanager
async def no_folder(scene: Scene) -> AsyncIterator[None]:
    """A file where media works with its files, once the videos of the other fault are told: they need the folder."""
    await _counted(scene, 'sum(sonant_api_errors_total{operation="videoInference"})', ERRORS)
    folder = scene.system.data_dir / "media-scratch" / "media-0"
    folder.parent.mkdir(exist_ok=True)
    if folder.exists():
        folder.rename(folder.with_suffix(".aside"))
    folder.write_text("in the way")
    key = await scene.key("media")
    await scene.call("POST", "/v1/media/speech", key, {"text": "Good evening.", "background": True})
    try:
        yield
    finally:
        folder.unlink()


@asynccontextmanager
async def poisoned_drafts(scene: Scene) -> AsyncIterator[None]:
    """A model that hides instructions in every tool that it drafts."""
    key = await scene.key("resources")
    body = {"description": "Tool to fetch weather data sandbox-drafts-injected", "inputs": ["city"], "outputs": ["sky"]}
    for _ in range(DRAFTS):
        await scene.call("POST", "/api/hume/tools/dynamic", key, body)
    yield


@asynccontextmanager
async def receiver_down(scene: Scene) -> AsyncIterator[None]:
    """A receiver that answers 500 to everything but its challenge."""
    key = await scene.key("media")
    made = await scene.told("POST", "/v1/webhooks/endpoints", key, {"url": f"{scene.sink.url}/down"})
    for _ in range(MESSAGES):
        await scene.told("POST", f"/v1/webhooks/endpoints/{made['id']}/test", key)
    yield


REFUSED_VIDEOS = Fault(
    {"JobsFail": {"kind": "video"}, "PaidForNothing": {"provider": "runware"}},
    "the provider refuses sixty videos, and then an account without money",
    refused_videos,
    end_seconds=WINDOW_30M,
)
NO_FOLDER = Fault(
    {"JobBugs": {"kind": "speech"}}, "a file in the place of media's scratch folder", no_folder, end_seconds=WINDOW_30M
)
POISONED_DRAFTS = Fault(
    {"DraftsRefused": {}}, "a model that drafts tools with hidden instructions", poisoned_drafts,
    end_seconds=WINDOW_15M,
)  # fmt: skip
RECEIVER_DOWN = Fault(
    {"WebhooksNotReceived": {}},
    "a receiver of webhooks answers 500",
    receiver_down,
    end_seconds=WINDOW_1H,
)
