"""Reading: sessions page by page, the turns of one with their steps, and single interactions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from common.events.interaction_ids import UUID7, day_of
from common.events.interaction_items import MAX_AHEAD_SECONDS, MAX_APART_SECONDS
from common.events.interaction_queries import (
    InteractionRequested,
    InteractionRow,
    ScoreRow,
    SessionDetail,
    SessionList,
    SessionListRequested,
    SessionRequested,
    SessionSummary,
    StepNode,
)
from common.events.reply import Reply
from common.failures import Refused, Unavailable
from telemetry.interactions.pages import behind, cursor
from telemetry.interactions.step_tree import nested
from telemetry.interactions.terms import TermsOf
from telemetry.ports import InteractionSessions

# What a page holds together: a reply goes over the live channel, where others wait behind it.
MAX_PAGE_BYTES = 2 * 1024 * 1024
# Of one text in a list; the interaction by itself tells more.
MAX_LISTED_CHARACTERS = 16_384
MAX_TOLD_CHARACTERS = 2 * 1024 * 1024
MAX_STEPS_TOLD = 2_000
MAX_SCORES_TOLD = 1_000
JSON_COLUMNS = (
    "metadata", "extra", "user_meta_data", "error", "active_set", "attempts", "receipt", "prosody", "context",
)  # fmt: skip
# A row lies on the day of its id, which may be so far from the moment that it names.
APART = timedelta(seconds=max(MAX_APART_SECONDS, MAX_AHEAD_SECONDS))

Row = Mapping[str, Any]


async def list_sessions(
    query: SessionListRequested, sessions: InteractionSessions, terms: TermsOf
) -> Reply[SessionList]:
    """200. Refuses (400) a cursor that is none, and (503) everything while the store is away."""
    after = behind(query.after, datetime, str, str)
    users: list[str] | None = None
    try:
        if query.user_id is not None:
            users = sorted(await terms.as_stored(query.user_id, query.org_id))
        found = await sessions.page(query, users, query.limit + 1, after)
    except Unavailable:
        raise away() from None
    page = found[: query.limit]
    more = len(found) > query.limit
    last = page[-1] if more else None
    return Reply(
        SessionList(
            object="list",
            data=tuple(SessionSummary(**_summary(row)) for row in page),
            has_more=more,
            next=None if last is None else cursor(last["last_at"], last["session_id"], last["mode"]),
        )
    )


def away() -> Refused:
    """503: a caller waits, and a refusal now is better than a late answer."""
    return Refused(503, "Interactions cannot be read at the moment.", "database_unavailable", type="server_error")


def _summary(row: Row) -> dict[str, Any]:
    return {**row, "first_at": row["first_at"].timestamp(), "last_at": row["last_at"].timestamp()}


async def show_session(query: SessionRequested, sessions: InteractionSessions, terms: TermsOf) -> Reply[SessionDetail]:
    """200, with as many turns as fit. Refuses 404, 400 and 503 as `list_sessions`."""
    after = behind(query.after, datetime, UUID)
    try:
        names = sorted(await terms.as_stored(query.session_id, query.org_id))
        session = await sessions.session(query.org_id, names, query.mode)
        if session is None:
            raise Refused(404, "There is no such session.", "session_not_found", "session_id")
        days = ((session["first_at"] - APART).date(), (session["last_at"] + APART).date())
        found = await sessions.turns(query.org_id, session, days, query.limit + 1, after)
        page = _fitting(found[: query.limit])
        more = len(found) > len(page)
        turns = await _told(query.org_id, page, days, sessions, MAX_LISTED_CHARACTERS)
    except Unavailable:
        raise away() from None
    last = page[-1] if more else None
    return Reply(
        SessionDetail(
            object="session",
            **_summary(session),
            data=turns,
            has_more=more,
            next=None if last is None else cursor(last["at"], str(last["id"])),
        )
    )


def _fitting(found: Sequence[Row]) -> Sequence[Row]:
    """As many of the turns as one reply holds, at least one."""
    size = 0
    for number, row in enumerate(found):
        size += sum(min(len(row[name] or ""), MAX_LISTED_CHARACTERS) for name in ("user_prompt", "ai_response"))
        size += sum(len(row[name] or "") for name in JSON_COLUMNS)
        if number and size > MAX_PAGE_BYTES:
            return found[:number]
    return found


async def show_interaction(query: InteractionRequested, sessions: InteractionSessions) -> Reply[InteractionRow]:
    """200. Refuses 404 and 503."""
    missing = Refused(404, "There is no such interaction.", "interaction_not_found", "interaction_id")
    id = query.id.lower()
    if not UUID7.fullmatch(id):
        raise missing
    try:
        day = day_of(id)
    except (ValueError, OverflowError):
        raise missing from None
    try:
        row = await sessions.interaction(query.org_id, day, id)
        if row is None:
            raise missing
        days = (day - APART, day + APART)
        [told] = await _told(query.org_id, [row], days, sessions, MAX_TOLD_CHARACTERS)
    except Unavailable:
        raise away() from None
    return Reply(told)


async def _told(
    org_id: str, page: Sequence[Row], days: Any, sessions: InteractionSessions, most: int
) -> tuple[InteractionRow, ...]:
    """The rows with their steps and scores; texts of at most so many characters."""
    ids = [str(row["id"]) for row in page]
    traces = [row["trace_id"] for row in page if row["trace_id"] is not None]
    steps = await sessions.steps(org_id, days, ids, traces, MAX_STEPS_TOLD) if ids else []
    scores = await sessions.scores(org_id, ids, MAX_SCORES_TOLD) if ids else []
    rated: dict[str, list[ScoreRow]] = defaultdict(list)
    for score in scores:
        rated[str(score["interaction_id"])].append(_score(score))
    trees = nested(page, steps, most)
    return tuple(_interaction(row, trees[str(row["id"])], rated[str(row["id"])], most) for row in page)


def _interaction(row: Row, steps: tuple[StepNode, ...], scores: list[ScoreRow], most: int) -> InteractionRow:
    texts = {name: row[name] for name in ("user_prompt", "ai_response")}
    cut = any(text is not None and len(text) > most for text in texts.values())
    fields = {
        **row,
        **{name: None if row[name] is None else orjson.loads(row[name]) for name in JSON_COLUMNS},
        **{name: None if text is None else text[:most] for name, text in texts.items()},
        "id": str(row["id"]),
        "at": row["at"].timestamp(),
        "ended_at": None if row["ended_at"] is None else row["ended_at"].timestamp(),
        "accepted_at": row["accepted_at"].timestamp(),
        "stored_at": row["stored_at"].timestamp(),
        "steps": steps,
        "scores": tuple(scores),
    }
    fields["user_metadata"] = fields["user_meta_data"]
    if cut:
        fields["cut"] = True
    return InteractionRow(**fields)


def _score(row: Row) -> ScoreRow:
    return ScoreRow(
        id=str(row["id"]),
        name=row["name"],
        value=row["value_text"] if row["value_text"] is not None else row["value"],
        comment=row["comment"],
        source=row["source"],
        user_id=row["user_id"],
        metadata=None if row["metadata"] is None else orjson.loads(row["metadata"]),
        at=row["at"].timestamp(),
    )
