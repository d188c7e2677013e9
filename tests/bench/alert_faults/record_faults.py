"""Faults of what lies on the log and in the database: records nobody can read, rows that were spoiled by hand."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.events.chat import CHAT_REPLY_COMPLETED
from common.events.envelope import Event
from common.events.interactions import INTERACTIONS_ACCEPTED, InteractionsAccepted
from common.events.record import Record
from common.secret_box import SecretBox
from common.storage.sealed_items import seal_items
from tests.bench.alert_faults.fault import Fault, Scene, repeated
from tests.support.clients import chat
from tests.support.ingest import SINGLE, interaction, new_id
from tests.support.log import log_of

WINDOW_10M = 660.0
WINDOW_15M = 960.0


@asynccontextmanager
async def unreadable(scene: Scene) -> AsyncIterator[None]:
    """Bytes of somebody else on a topic of ours."""
    name = CHAT_REPLY_COMPLETED.name
    headers = {"event-id": str(uuid.uuid4()), "event-type": name, "event-time": repr(time.time())}
    async with log_of(scene.system) as log:
        await log.publish(*(Record("chat-events", "somebody", b"\x00 no JSON", headers) for _ in range(3)))
    yield


@asynccontextmanager
async def unmaskable(scene: Scene) -> AsyncIterator[None]:
    """A policy that nobody can read, as a failed migration leaves it, and interactions of that organisation."""
    key = await scene.key("ingest")
    policy = "INSERT INTO telemetry.policies (org_id, policy, revision, changed_by) VALUES ($1, $2, 1, 'by hand')"
    await scene.execute(policy, key.organization, '{"masking": "spoiled"}')
    numbers = iter(range(1_000_000))

    async def once() -> None:
        await scene.call("POST", SINGLE, key, interaction(next(numbers), session_id="one", mode="prod"))

    try:
        async with repeated(0.5, once):
            yield
    finally:
        await scene.execute("DELETE FROM telemetry.policies WHERE org_id = $1", key.organization)


@asynccontextmanager
async def turns_that_do_not_fit(scene: Scene) -> AsyncIterator[None]:
    """A trigger by hand that lets the database refuse the turns of one organisation."""
    key = await scene.key("chat")
    await scene.execute(
        "CREATE FUNCTION telemetry.too_large() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.org_id = '{key.organization}' THEN RAISE EXCEPTION 'too large' USING ERRCODE = '22003'; END IF;"
        " RETURN NEW; END $$"
    )
    await scene.execute(
        "CREATE TRIGGER too_large BEFORE INSERT ON telemetry.usage_days"
        " FOR EACH ROW EXECUTE FUNCTION telemetry.too_large()"
    )
    await scene.call("POST", "/v1/chat/completions", key, chat("Hello."))
    try:
        yield
    finally:
        await scene.execute("DROP FUNCTION telemetry.too_large CASCADE")


@asynccontextmanager
async def item_of_a_newer_gateway(scene: Scene) -> AsyncIterator[None]:
    """A sealed batch whose item has another shape than this telemetry knows."""
    secrets = json.loads((scene.system.data_dir / "secrets.json").read_text())
    now, org_id, batch_id = time.time(), f"org-{uuid.uuid4().hex[:8]}", new_id()
    items = json.dumps([[0, {"id": new_id(), "kind": "of tomorrow"}]]).encode()
    payload = InteractionsAccepted(
        org_id=org_id,
        key_id="newer",
        batch_id=batch_id,
        lane="newer",
        count=1,
        size=len(items),
        accepted_at=now,
        hour=int(now // 3600),
        source="newer",
        confirmed=0,
        sealed=seal_items(items, org_id, SecretBox([secrets["sealing"]])),
    )
    async with log_of(scene.system) as log:
        await log.publish(Event(INTERACTIONS_ACCEPTED, payload, id=batch_id).record())
    yield


@asynccontextmanager
async def interactions_lost(scene: Scene) -> AsyncIterator[None]:
    """A gateway of some hours ago that was told that the log has 40 interactions, of which none came."""
    hour = int(time.time() // 3600) - 3
    tally = (
        "INSERT INTO telemetry.tallies (org_id, hour, source, confirmed, arrived) VALUES ('lost', $1, 'gone', 40, 0)"
    )
    await scene.execute(tally, hour)
    try:
        yield
    finally:
        await scene.execute("DELETE FROM telemetry.tallies WHERE org_id = 'lost'")


@asynccontextmanager
async def renamed_column(scene: Scene) -> AsyncIterator[None]:
    """A column that somebody renamed, and reads that need it."""
    key = await scene.key("resources")
    rename = "ALTER TABLE resources.revisions RENAME COLUMN {} TO {}"
    await scene.execute(rename.format("note", "remark"))

    async def once() -> None:
        await scene.call("GET", "/v1/active/history?projectId=alert", key)

    try:
        async with repeated(5.0, once):
            yield
    finally:
        await scene.execute(rename.format("remark", "note"))


UNREADABLE = Fault(
    {"UnreadableRecords": {"topic": "chat-events"}, "DeadLetters": {"event": CHAT_REPLY_COMPLETED.type}},
    "bytes that are no event on the topic chat-events",
    unreadable,
    end_seconds=WINDOW_10M,
)
UNMASKABLE = Fault(
    {"MaskingBroken": {}, "BrakeOpen": {}},
    "an organisation whose masking policy cannot be read",
    unmaskable,
    end_seconds=WINDOW_15M,
)
TURNS_REFUSED = Fault(
    {"TurnsRefused": {}}, "the database refuses the turns of one organisation", turns_that_do_not_fit,
    end_seconds=WINDOW_15M,
)  # fmt: skip
UNFORESEEN = Fault(
    {"InteractionsUnforeseen": {}}, "an item of a newer gateway on the log", item_of_a_newer_gateway,
    end_seconds=WINDOW_15M,
)  # fmt: skip
MISSING = Fault(
    {"InteractionsMissing": {}},
    "40 interactions that a gateway had confirmed and the log lost",
    interactions_lost,
    fire_seconds=780.0,
)
RENAMED = Fault(
    {"HandlerBugs": {}}, "a column of resources was renamed by hand", renamed_column, end_seconds=WINDOW_10M
)
