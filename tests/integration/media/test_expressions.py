"""Expression measurement on real engines and stand-ins that misbehave: nothing is paid twice, and somebody measures."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sandbox.app import serve
from tests.support.engines import new_database
from tests.support.expressions import Lab, lab
from tests.support.media import left_behind
from tests.support.media_files import clip, picture, voice, wav
from tests.support.peers import INSIDE, OUTSIDE, Peer, raw, redirect, says, talking
from tests.support.service import world_on

AUDIO = "/v1/expression/audio/file"
BATCH = "/v0/batch/jobs"
# One address of this machine stands for the public internet, the others for our own network.
SETTINGS = {"SONANT_MEDIA_NETWORKS": f"{OUTSIDE}/32", "SONANT_MAX_EXPRESSION_BYTES": str(1024 * 1024)}


@pytest.fixture(scope="module")
async def at(valkey_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """One service for all tests that leave it as it is. Who measures what: `burst` only the former interface does."""
    async with serve() as sandbox_url, new_database(postgres_url, "media") as database_url:
        async with world_on(valkey_url, database_url, tmp_path_factory.mktemp("lab")) as world:
            async with lab(world, sandbox_url, "hume,hume-batch,local", SETTINGS) as opened:
                yield opened


def reasons(whole: dict[str, Any]) -> dict[str, str]:
    return {each["model"]: each["reason"] for each in whole["missing"]}


def calls(job: dict[str, Any]) -> list[tuple[str, str]]:
    """What was asked in turn, and how it ended."""
    return [(each["operation"], each["outcome"]) for each in job["attempts"]]


async def test_a_long_sound_is_split_where_it_is_quiet_and_stitched(at: Lab) -> None:
    # Beside the event loop: one that stands still for seconds loses the mailbox that replies come to.
    sound = await asyncio.to_thread(lambda: wav(voice(640.0, pauses=((583.0, 585.0), (620.0, 622.0)))))
    await at.arrange()
    job, whole = await at.measured(await at.begun(sound, interval=10.0))
    assert calls(job) == [("audio", "completed"), ("audio", "completed")]
    samples = whole["models"][0]["tracks"][0]["samples"]
    assert all(sample["end"] - sample["begin"] <= 10.0 for sample in samples)
    ends = [sample["end"] for sample in samples]
    assert ends == sorted(ends)
    assert max(ends) == pytest.approx(640.0, abs=0.01)
    # The second piece begins in the pause: nobody speaks over the cut.
    assert not [each for each in samples if each["begin"] < 583.0 and each["end"] > 585.5]
    assert left_behind(at.world) == []


async def test_an_answer_that_is_lost_is_not_paid_again(at: Lab) -> None:
    before = (await at.charges()).get("measurement_audio_requests", 0)
    await at.arrange({"do": "lost", "path": AUDIO})
    job, whole = await at.measured(await at.begun(wav(voice(4.0))))
    assert (await at.charges())["measurement_audio_requests"] == before + 1
    # The next one measures.
    assert calls(job) == [("audio", "failed"), ("batch", "completed")]
    assert {each["model"] for each in whole["models"]} == {"prosody", "burst", "language"}


async def test_a_provider_that_says_no_is_asked_again(at: Lab) -> None:
    await at.arrange({"do": "status-503", "times": 2, "path": AUDIO})
    job, _ = await at.measured(await at.begun(wav(voice(4.0))))
    assert calls(job) == [("audio", "failed"), ("audio", "failed"), ("audio", "completed")]


async def test_one_that_does_not_know_us_is_passed_over(at: Lab) -> None:
    await at.arrange({"do": "status-401", "path": AUDIO}, {"do": "status-401", "method": "POST", "path": BATCH})
    job, whole = await at.measured(await at.begun(wav(voice(4.0))))
    assert calls(job) == [("audio", "refused"), ("batch", "refused"), ("measure", "completed")]
    assert job["result"]["providers"] == ["local"]
    assert "account" in reasons(whole)["prosody"]


async def test_a_job_of_the_former_interface_runs_to_its_predictions(at: Lab) -> None:
    await at.arrange()
    before = (await at.charges()).get("batch_jobs", 0)
    job, whole = await at.measured(await at.begun(wav(voice(2.0)), models=["burst", "language"]))
    assert {each["model"] for each in whole["models"]} == {"burst", "language"}
    sample = whole["models"][1]["tracks"][0]["samples"][0]
    assert (sample["begin"], sample["end"], sample["text"]) == (0.0, 1.0, "words")
    assert whole["names"]["language"]["Surprise (positive)"] == "positive-surprise"
    assert job["attempts"][0]["reference"]
    # Its acknowledgement is lost: it is found by the name of its file, and not begun twice.
    await at.arrange({"do": "lost", "method": "POST", "path": BATCH})
    await at.measured(await at.begun(wav(voice(2.0)), models=["burst"]))
    assert (await at.charges())["batch_jobs"] == before + 2


async def test_what_one_refuses_another_measures_or_the_job_fails_with_its_words(at: Lab, tmp_path: Path) -> None:
    refusal = {"do": "status-400", "method": "POST", "path": BATCH}
    await at.arrange(refusal)
    video = clip(tmp_path / "a.mp4", [picture()] * 10, samples=voice(1.0)).read_bytes()
    _, whole = await at.measured(await at.begun(video, models=["voice", "burst"]))
    assert [each["model"] for each in whole["models"]] == ["voice"]
    assert "The provider says" in reasons(whole)["burst"]
    await at.arrange(refusal)
    failed = await at.owner.ended(await at.begun(wav(voice(1.0)), models=["burst"]))
    assert (failed["state"], failed["error"]["code"]) == ("failed", "provider_refused")


async def test_what_nobody_has_is_said(at: Lab) -> None:
    nothing = await at.owner.ended(await at.begun(wav(voice(1.0)), models=["face"]))
    assert (nothing["state"], nothing["error"]["code"]) == ("failed", "nothing_to_measure")
    gone = await at.owner.ended(await at.owner.submit("expressions", asset_id=f"ast_{uuid.uuid4().hex}"))
    assert (gone["state"], gone["error"]["code"]) == ("failed", "asset_not_found")


async def test_a_file_at_an_address_is_measured(at: Lab, peer: Peer) -> None:
    async def sound(_: web.Request) -> web.StreamResponse:
        return web.Response(body=wav(voice(2.0)), content_type="text/html")

    await at.arrange()
    peer.routes |= {"/a.wav": sound, "/moved": redirect("/a.wav")}
    _, whole = await at.measured(await at.owner.submit("expressions", url=peer.url("/moved")))
    assert whole["media"]["content_type"] == "audio/wav"


async def test_no_address_leads_inside_or_without_end(at: Lab, peer: Peer) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n"
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    endless = raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", repeat=chunk)
    peer.routes |= {
        "/inside": redirect(peer.url("/secret", INSIDE)),
        "/cloud": redirect("http://169.254.169.254/latest"),
        "/file": redirect("file:///etc/passwd"),
        "/loop": redirect("/loop"),
        "/gone": says("no", 404),
        "/page": says("<html>"),
    }
    async with talking(raw(head)) as large, talking(endless) as without_end:
        expected = {
            peer.url("/x", INSIDE): "url_not_allowed",
            peer.url("/inside"): "url_not_allowed",
            peer.url("/cloud"): "url_not_allowed",
            peer.url("/file"): "url_not_allowed",
            peer.url("/loop"): "too_many_redirects",
            peer.url("/gone"): "url_not_fetched",
            peer.url("/page"): "unsupported_media_type",
            large: "response_too_large",
            without_end: "response_too_large",
        }
        ids = [await at.owner.submit("expressions", url=url) for url in expected]
        jobs = await asyncio.gather(*(at.owner.ended(job_id) for job_id in ids))
    found = dict(zip(expected, ((job["error"] or {}).get("code") for job in jobs), strict=True))
    assert found == expected
    assert peer.inside == 0
    assert left_behind(at.world) == []
