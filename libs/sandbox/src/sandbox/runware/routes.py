"""The routes of the stand-in of Runware: its one endpoint, the files it makes, and its control."""

import asyncio
import secrets
from typing import Any

import orjson
from aiohttp import web

from sandbox.hume.faults import UnknownFault
from sandbox.recorder import RECORDER, Exchange
from sandbox.runware import spoiling
from sandbox.runware.clips import clip
from sandbox.runware.task_ledger import LEDGER, RunwareAccount, Task
from sandbox.runware.task_rules import error, wrong_video
from sandbox.runware.webhook_sender import send_early, send_when_done

REFUSED_KEY = "runware-invalid"
MAX_TASKS_PER_CALL = 20
SLOW_PART_SECONDS = 0.2


def routes() -> list[web.RouteDef]:
    """The provider's routes and the control routes."""
    return [
        web.post("/runware/v1", call),
        web.get("/runware/files/{uuid}.mp4", file),
        web.get("/sandbox/runware/{key}", look),
        web.put("/sandbox/runware/{key}", arrange),
        web.delete("/sandbox/runware/{key}", drop),
    ]


# -- the endpoint -----------------------------------------------------------------------------------------------------


async def call(request: web.Request) -> web.StreamResponse:
    """`POST /v1`: an array of tasks in, `{"data", "errors"}` out."""
    raw = await request.read()
    exchange = Exchange(f"req_{secrets.token_hex(16)}", request.path_qs, request.headers, raw, request.method)
    request.app[RECORDER].begin(exchange, model="runware", stream=False)
    try:
        response = await _answer(request, raw)
    except asyncio.CancelledError:
        exchange.finish("client_closed")
        raise
    exchange.status = response.status
    exchange.finish("completed" if response.status < 400 else "rejected")
    return response


async def _answer(request: web.Request, raw: bytes) -> web.StreamResponse:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key or key == REFUSED_KEY:
        return answer([], [error({}, "invalidApiKey", "Invalid API key.")], 401)
    try:
        tasks = orjson.loads(raw)
    except orjson.JSONDecodeError:
        tasks = None
    if not isinstance(tasks, list) or not 0 < len(tasks) <= MAX_TASKS_PER_CALL:
        return answer([], [error({}, "invalidRequest", "The body must be an array of tasks.")], 400)
    account = request.app[LEDGER].of(key)
    faults = account.plan.next("", str(tasks[0].get("taskType")))
    if (spoiled := await spoiling.before(request, faults)) is not None:
        return spoiled
    data: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for task in tasks:
        account.calls[str(task.get("taskType"))] += 1
        found, wrong = await _one(request, account, task)
        data += found
        errors += wrong
    # An answer that is no success only where nothing of it is.
    status = 400 if errors and not data and all("status" not in each for each in errors) else 200
    return await spoiling.after(request, faults, answer(data, errors, status))


def answer(data: list[dict[str, Any]], errors: list[dict[str, Any]], status: int = 200) -> web.Response:
    """The envelope; a part that is empty is left out, unless both are."""
    body = {name: value for name, value in (("data", data), ("errors", errors)) if value} or {"data": []}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


Parts = tuple[list[dict[str, Any]], list[dict[str, Any]]]


async def _one(request: web.Request, account: RunwareAccount, task: dict[str, Any]) -> Parts:
    kind = task.get("taskType")
    if kind == "videoInference":
        return await _submit(request, account, task)
    found = account.tasks.get(str(task.get("taskUUID")))
    if kind not in ("getResponse", "getTaskDetails"):
        return [], [error(task, "invalidTaskType", f"Unknown task type '{kind}'.", "taskType")]
    if found is None:
        return [], [error(task, "taskNotFound", "There is no task with this taskUUID.", "taskUUID")]
    if kind == "getTaskDetails":
        data, errors = result(request, found)
        details = {"request": found.body, "response": {"data": data, "errors": errors}}
        return [{"taskType": kind, "taskUUID": found.uuid, **details}], []
    found.polled += 1
    return result(request, found)


async def _submit(request: web.Request, account: RunwareAccount, task: dict[str, Any]) -> Parts:
    if (wrong := wrong_video(task)) is not None:
        return [], [wrong]
    if task["taskUUID"] in account.tasks and account.duplicates == "reject":
        return [], [error(task, "duplicateTaskUUID", "A task with this taskUUID exists.", "taskUUID")]
    taken = request.app[LEDGER].submit(account, task)
    if taken.submissions == 1 and task.get("webhookURL"):
        if "webhook-early" in taken.directives:
            await send_early(request.app, taken, result(request, taken, at_end=True))
        send_when_done(request.app, taken, lambda: result(request, taken, at_end=True))
    return [{"taskType": "videoInference", "taskUUID": taken.uuid}], []


def result(request: web.Request, task: Task, *, at_end: bool = False) -> Parts:
    """What polling shows of a task, or will show once it is over."""
    about = {"taskType": "videoInference", "taskUUID": task.uuid}
    share = 1.0 if at_end else task.share()
    if share < 1.0:
        return [{**about, "status": "processing", "progress": int(share * 100)}], []
    if task.failure is not None:
        message = f"The task failed: {task.failure}."
        return [], [error(about, task.failure, message, status="error")]
    url = f"{request.scheme}://{request.host}/runware/files/{task.uuid}.mp4"
    done = {**about, "status": "success", "videoUUID": task.uuid, "videoURL": url, "seed": task.body.get("seed", 1)}
    return [{**done, **({"cost": task.cost} if task.body.get("includeCost") else {})}], []


# -- what it makes ----------------------------------------------------------------------------------------------------


async def file(request: web.Request) -> web.StreamResponse:
    """A result, open to everybody who knows its address."""
    task = request.app[LEDGER].find(request.match_info["uuid"])
    if task is None or task.failure is not None or "asset-expired" in task.directives:
        raise web.HTTPNotFound(text="no such file")
    if "asset-garbage" in task.directives:
        return web.Response(body=b"not a video" * 1000, content_type="video/mp4")
    wanted = task.body
    shape = (int(wanted.get("width", 1280)), int(wanted.get("height", 720)), float(wanted["duration"]))
    body = await asyncio.to_thread(clip, *shape, task.uuid[:1])
    if "asset-truncated" in task.directives:
        return await spoiling.cut(request, body)
    if "asset-slow" in task.directives:
        return await _slowly(request, body)
    return web.Response(body=body, content_type="video/mp4")


async def _slowly(request: web.Request, body: bytes) -> web.StreamResponse:
    slow = web.StreamResponse(headers={"content-type": "video/mp4", "content-length": str(len(body))})
    await slow.prepare(request)
    tenth = -(-len(body) // 10)
    for start in range(0, len(body), tenth):
        await asyncio.sleep(SLOW_PART_SECONDS)
        await slow.write(body[start : start + tenth])
    return slow


# -- control ----------------------------------------------------------------------------------------------------------


async def look(request: web.Request) -> web.Response:
    """Totals of one account."""
    return _json(request.app[LEDGER].of(request.match_info["key"]).summary())


async def drop(request: web.Request) -> web.Response:
    """Forget one account."""
    request.app[LEDGER].drop(request.match_info["key"])
    return web.Response(status=204)


async def arrange(request: web.Request) -> web.Response:
    """Set how an account's later requests fare; what is left out goes back to normal.

    Body: `faults` [{do, times? (1; null: for good), task_type?}], `task_seconds`, `polls`, `duplicates` "replay",
    "reject" or "again".
    """
    try:
        order = orjson.loads(await request.read() or b"{}")
        account = request.app[LEDGER].arrange(request.match_info["key"], order)
    except (UnknownFault, orjson.JSONDecodeError, KeyError, ValueError) as wrong:
        raise web.HTTPBadRequest(text=f"not understood: {wrong!r}") from None
    return _json(account.summary())


def _json(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
