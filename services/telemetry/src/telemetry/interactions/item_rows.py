"""Items as rows: each is masked first, and one that cannot be is parked."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from common.events.interaction_ids import day_of, moment_of
from common.events.interaction_items import Interaction, Score, Step
from common.events.telemetry_policy import TelemetryPolicy
from telemetry.interactions.step_rows import Owner, json_text, step_row, step_rows
from telemetry.masking.masker import BrokenRuleError, Masker
from telemetry.price_list import PriceList, Tokens
from telemetry.row_shapes import ItemRows, Session, utc

# Names and ids by which rows are found: masked, they stay apart from one another.
IDENTITIES = ("session_id", "user_id", "trace_id", "span_id", "parent_id")
# What was checked to hold nothing else: ids, and numbers with fewer digits than a card has.
PLAIN = frozenset({
    "id", "interaction_id", "kind", "mode", "timestamp", "prompt_tokens", "completion_tokens", "total_tokens",
    "cached_tokens", "response_time", "first_token_ms", "cost_usd", "started_at", "ended_at", "duration_ms", "status",
})  # fmt: skip
KNOWN = {name for model in (Interaction, Step, Score) for name in model.model_fields}
SHARES = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the items of one organisation. `keep` are days by mode; `pseudonym` names without telling."""

    policy: TelemetryPolicy
    masker: Masker
    prices: PriceList
    keep: Mapping[str, int]
    pseudonym: Callable[[str], str]

    def identity(self, name: str) -> str:
        """A session or user as it is stored: the name, or what stands for it where the rules find something in it."""
        seen = self.masker.text(name)
        return seen if seen == name else self.pseudonym(name)


@dataclass(frozen=True, slots=True)
class Source:
    """How the items came."""

    org_id: str
    key_id: str
    batch_id: str
    accepted_at: float
    origin: str


def item_rows(position: int, item: dict[str, Any], source: Source, terms: Terms) -> ItemRows:
    """The rows of an item; none where it is sampled out, or where a rule that was to mask it fails."""
    found = ItemRows(position, item["id"], day_of(item["id"]))
    mode = item.get("mode", "prod")
    if _sampled_out(item, terms.policy.of_mode(mode).sampling):
        found.outcome = "sampled_out"
        return found
    try:
        masked = masked_item(item, terms)
    except BrokenRuleError as broken:
        found.outcome, found.reason = "parked", f"masking failed: {broken}"
        return found
    masked["mode"] = mode
    _MAKERS[item.get("kind", "interaction")](masked, found, source, terms)
    return found


def _sampled_out(item: Mapping[str, Any], share: float) -> bool:
    """By session or trace, so that what belongs together is kept or dropped together. Scores are always kept."""
    if share >= 1 or item.get("kind") == "score":
        return False
    name = item.get("session_id") or item.get("trace_id") or item.get("interaction_id") or item["id"]
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) % SHARES >= share * SHARES


def masked_item(item: dict[str, Any], terms: Terms) -> dict[str, Any]:
    """The item without what the rules find. Raises BrokenRuleError."""
    plain = {name: value for name, value in item.items() if name in PLAIN}
    rest = {name: value for name, value in item.items() if name not in PLAIN and name not in IDENTITIES}
    masked: dict[str, Any] = terms.masker.value(rest)
    for name in IDENTITIES:
        if (text := item.get(name)) is not None:
            masked[name] = terms.identity(text)
    return {**masked, **plain}


def _tokens(item: Mapping[str, Any]) -> Tokens:
    given = item.get("token_count")
    counts = {"total": given} if isinstance(given, int) else dict(given) if isinstance(given, dict) else {}
    for name in ("prompt", "completion", "total", "cached"):
        if (count := item.get(f"{name}_tokens")) is not None:
            counts[name] = count
    prompt, completion, total = (counts.get(name) for name in ("prompt", "completion", "total"))
    if total is None and (prompt is not None or completion is not None):
        total = (prompt or 0) + (completion or 0)
    return Tokens(prompt, completion, total, counts.get("cached"))


def _dollars(cost: float | None) -> Decimal | None:
    return None if cost is None else Decimal(repr(cost))


def text_of(value: Any) -> str | None:
    """A text as it is, anything else as JSON."""
    return value if value is None or isinstance(value, str) else json_text(value)


def _interaction(item: dict[str, Any], found: ItemRows, source: Source, terms: Terms) -> None:
    began = item.get("timestamp", moment_of(found.id))
    at, mode = utc(began), item["mode"]
    keep = terms.keep[mode]
    tokens, took = _tokens(item), item.get("response_time")
    session_id, error = item.get("session_id", found.id), item.get("error")
    status = item.get("status", "ok" if error is None else "error")
    cost, cost_from = item.get("cost_usd"), "caller"
    if cost is None:
        cost, cost_from = terms.prices.cost(item.get("llm_model"), tokens, began), "prices"
    user_id = item.get("user_id")
    found.rows["chat"] = [
        (
            keep, found.day, source.org_id, found.id, mode, source.origin, source.key_id,
            item.get("project_id"), session_id, user_id, item.get("llm_model"), item.get("provider"),
            item.get("file_name"), text_of(item.get("user_prompt")), text_of(item.get("ai_response")),
            json_text(item.get("user_metadata")), status, json_text(error), item.get("trace_id"),
            item.get("span_id"), item.get("parent_id"), None, None, at,
            None if took is None else at + timedelta(milliseconds=took), source.batch_id, utc(source.accepted_at),
            "chat",
        )
    ]  # fmt: skip
    extra = {name: value for name, value in item.items() if name not in KNOWN}
    found.rows["prompt_details"] = [
        (
            keep, found.day, source.org_id, mode, found.id, tokens.prompt, tokens.completion, tokens.total,
            tokens.cached, False, json_text(item.get("metadata")), json_text(extra or None), item.get("tags"),
            item.get("environment"), item.get("release"), item.get("prompt_version"), took, item.get("first_token_ms"),
            _dollars(cost), None if cost is None else cost_from, item.get("finish_reason"), None, None, None, None,
        )
    ]  # fmt: skip
    owner = Owner(
        keep, found.day, source.org_id, mode, found.id, found.id, item.get("trace_id"), item.get("session_id"), user_id
    )
    if steps := step_rows(item.get("step_data"), owner):
        found.rows["steps"] = steps
    found.session = Session(
        source.org_id, mode, session_id, user_id, at, status == "error", tokens.total or 0, cost or 0.0,
        item.get("llm_model"),
    )  # fmt: skip


def _step(item: dict[str, Any], found: ItemRows, source: Source, terms: Terms) -> None:
    owner = Owner(
        terms.keep[item["mode"]], found.day, source.org_id, item["mode"], found.id, item.get("interaction_id"),
        item.get("trace_id"), item.get("session_id"), item.get("user_id"),
    )  # fmt: skip
    began = item.get("started_at", item.get("timestamp", moment_of(found.id)))
    kept = {
        name: value for name, value in item.items() if name not in ("mode", "org_id", "interaction_id", *IDENTITIES)
    }
    step = {**kept, "id": item.get("span_id", found.id), "parent_id": item.get("parent_id"), "started_at": began}
    step.pop("timestamp", None)
    found.rows["steps"] = [step_row(step, owner, 0, None)]


def _score(item: dict[str, Any], found: ItemRows, source: Source, terms: Terms) -> None:
    value = item["value"]
    number = float(value) if isinstance(value, (int, float)) else None
    found.rows["scores"] = [
        (
            terms.keep[item["mode"]], found.day, source.org_id, item["mode"], item["interaction_id"], found.id,
            item["name"], number, text_of(value) if isinstance(value, (str, bool)) else None, item.get("comment"),
            item.get("source"), item.get("user_id"), json_text(item.get("metadata")),
            utc(item.get("timestamp", moment_of(found.id))),
        )
    ]  # fmt: skip


_MAKERS: Mapping[str, Callable[[dict[str, Any], ItemRows, Source, Terms], None]] = {
    "interaction": _interaction,
    "step": _step,
    "score": _score,
}
