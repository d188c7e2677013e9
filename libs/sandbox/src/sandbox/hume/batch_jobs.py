"""Expression measurement as it was: jobs over files or URLs, polled or called back, without a signature.

The stand-in looks at no URL. A job passes through its states as it is asked for them, one state a look, or by itself
after `batch_seconds` of its account (control route), when it also calls back. A URL that holds `fail-source` has an
error of its own, `fail-job` fails the job.
"""

import asyncio
import io
import uuid
import zipfile
from contextlib import suppress
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from sandbox.hume.accounts import now_ms
from sandbox.hume.calls import Call, observed
from sandbox.hume.errors import invalid, json_response, refusal
from sandbox.hume.form_parts import FormPart, form_parts
from sandbox.hume.made_up_scores import BATCH_NAMES, made_up

MODELS = ("face", "prosody", "burst", "language", "ner", "facemesh")
MAX_URLS = 100
MAX_LOCAL_BYTES = 100_000_000
CALLBACK_SECONDS = 5.0
CALLBACK_TRIES = 3


def routes() -> list[web.RouteDef]:
    """The routes of jobs."""
    return [
        web.post("/v0/batch/jobs", observed(start)),
        web.get("/v0/batch/jobs", observed(list_jobs)),
        web.get("/v0/batch/jobs/{id}", observed(details)),
        web.get("/v0/batch/jobs/{id}/predictions", observed(predictions)),
        web.get("/v0/batch/jobs/{id}/artifacts", observed(artifacts)),
    ]


async def start(call: Call) -> web.Response:
    """A job over URLs, texts or files; it is charged when it is taken."""
    order, files = _order(call)
    models = order.get("models") or {name: {} for name in MODELS}
    if unknown := models.keys() - set(MODELS):
        raise invalid(f"unknown models: {', '.join(sorted(unknown))}")
    urls, texts = order.get("urls") or [], order.get("text") or []
    if not (urls or texts or files) or len(urls) > MAX_URLS:
        raise invalid(f"a job has 1 to {MAX_URLS} sources")
    job_id = str(uuid.uuid4())
    call.account.batch_jobs[job_id] = {
        "job_id": job_id,
        "type": "INFERENCE",
        "request": {
            "models": models,
            "urls": urls,
            "text": texts,
            "files": [{"filename": part.filename, "content_type": "", "md5sum": ""} for part in files],
            "callback_url": order.get("callback_url"),
            "notify": order.get("notify", False),
        },
        "state": {"status": "QUEUED", "created_timestamp_ms": now_ms()},
    }
    call.account.charges["batch_jobs"] += 1
    call.account.charges["batch_sources"] += len(urls) + len(texts) + len(files)
    _call_back_later(call, call.account.batch_jobs[job_id])
    return json_response({"job_id": job_id})


async def list_jobs(call: Call) -> web.Response:
    """The jobs of the account, newest first: a bare array."""
    query = call.request.query
    statuses = query.getall("status", [])
    jobs = [job for job in call.account.batch_jobs.values() if not statuses or job["state"]["status"] in statuses]
    if query.get("direction", "desc") == "desc":
        jobs.reverse()
    limit = query.get("limit", "50")
    return json_response(jobs[: int(limit) if limit.isdecimal() else 50])


async def details(call: Call) -> web.Response:
    """One job, which is a state further by each look at it."""
    job = _job(call)
    if call.account.batch_seconds is None:
        advance(job)
    return json_response(job)


async def predictions(call: Call) -> web.Response:
    """What a completed job found: one element for each source."""
    return json_response(_predictions(_completed(call)))


async def artifacts(call: Call) -> web.Response:
    """The same, as an archive."""
    job, packed = _completed(call), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("predictions.json", orjson.dumps(_predictions(job)))
    return web.Response(body=packed.getvalue(), content_type="application/zip")


def advance(job: dict[str, Any]) -> None:
    """The next state of a job."""
    state, request = job["state"], job["request"]
    if state["status"] == "QUEUED":
        state.update(status="IN_PROGRESS", started_timestamp_ms=now_ms())
    elif state["status"] == "IN_PROGRESS":
        state["ended_timestamp_ms"] = now_ms()
        if any("fail-job" in name for name in _sources(request)):
            state.update(status="FAILED", message="user 'sandbox' has exceeded their limit")
        else:
            errors = sum("fail-source" in name for name in _sources(request))
            state.update(status="COMPLETED", num_predictions=len(_sources(request)) - errors, num_errors=errors)


def _order(call: Call) -> tuple[dict[str, Any], list[FormPart]]:
    """What is asked for, and the files; the client sends the `json` part of a form as if it were a file."""
    content_type = call.request.headers.get("content-type", "")
    if not content_type.startswith("multipart/"):
        return call.body(), []
    try:
        parts = form_parts(content_type, call.raw)
        order = [orjson.loads(part.data) for part in parts if part.name == "json"]
    except ValueError as wrong:
        raise invalid(str(wrong), "E0100") from None
    files = [part for part in parts if part.name == "file"]
    if any(len(part.data) > MAX_LOCAL_BYTES for part in files):
        raise refusal(413, "a local file has at most 100 MB")
    return (order or [{}])[0], files


def _job(call: Call) -> dict[str, Any]:
    try:
        return call.account.batch_jobs[call.id()]
    except KeyError:
        raise refusal(404, "job not found") from None


def _completed(call: Call) -> dict[str, Any]:
    job = _job(call)
    if job["state"]["status"] != "COMPLETED":
        raise invalid("the job is not completed")
    return job


def _sources(request: dict[str, Any]) -> list[str]:
    return [*request["urls"], *request["text"], *(each["filename"] or "" for each in request["files"])]


def _predictions(job: dict[str, Any]) -> list[dict[str, Any]]:
    request = job["request"]
    named = [("url", {"url": url}, url) for url in request["urls"]]
    named += [("text", {}, text) for text in request["text"]]
    named += [("file", {"filename": each["filename"]}, each["filename"] or "") for each in request["files"]]
    return [
        {"source": {"type": kind, **source}, "results": _results(name, request["models"])}
        for kind, source, name in named
    ]


def _results(name: str, models: dict[str, Any]) -> dict[str, Any]:
    if "fail-source" in name:
        return {"errors": [{"message": "the file could not be read", "file": name}], "predictions": []}
    found = {model: _of_model(model, name) for model in models if model in ("face", "prosody", "burst", "language")}
    return {"errors": [], "predictions": [{"file": name.rpartition("/")[2], "file_type": "video", "models": found}]}


def _of_model(model: str, name: str) -> dict[str, Any]:
    """Four samples of one person, a second apart."""
    samples = []
    for number in range(4):
        scored = made_up(BATCH_NAMES, f"{name}{model}{number}".encode())
        sample: dict[str, Any] = {"emotions": [{"name": each, "score": score} for each, score in scored]}
        if model == "face":
            box = {"x": 10.0, "y": 12.0, "w": 64.0, "h": 72.0}
            sample |= {"frame": number * 3, "time": float(number), "prob": 0.99, "box": box}
            sample |= {"facs": None, "descriptions": None}
        else:
            sample |= {"time": {"begin": float(number), "end": number + 1.0}, "confidence": 0.9}
            sample |= {} if model == "burst" else {"text": "words", "speaker_confidence": None}
        samples.append(sample)
    metadata = {"confidence": 0.9, "detected_language": "en"} if model in ("prosody", "language") else None
    return {"metadata": metadata, "grouped_predictions": [{"id": "unknown", "predictions": samples}]}


# -- calling back ------------------------------------------------------------------------------------------------------


def _call_back_later(call: Call, job: dict[str, Any]) -> None:
    if call.account.batch_seconds is None:
        return
    callbacks = call.account.callbacks
    task = asyncio.create_task(_end(job, call.account.batch_seconds))
    callbacks.add(task)
    task.add_done_callback(callbacks.discard)


async def _end(job: dict[str, Any], seconds: float) -> None:
    await asyncio.sleep(seconds)
    advance(job)
    advance(job)
    url = job["request"]["callback_url"]
    if not url:
        return
    state = job["state"]["status"]
    body = {"job_id": job["job_id"], "status": state}
    body["predictions"] = _predictions(job) if state == "COMPLETED" else []
    timeout = aiohttp.ClientTimeout(total=CALLBACK_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for _ in range(CALLBACK_TRIES):
            if await _heard(http, url, body):
                return
            await asyncio.sleep(seconds)


async def _heard(http: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> bool:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with http.post(url, json=body) as answer:
            return answer.status < 300
    return False
