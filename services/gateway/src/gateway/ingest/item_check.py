"""Items, checked one by one: what is wrong with one keeps no other from being accepted."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from common.events.interaction_ids import UUID7, moment_of, new_id
from common.events.interaction_items import (
    KINDS,
    MAX_AGE_SECONDS,
    MAX_AHEAD_SECONDS,
    MAX_APART_SECONDS,
    MAX_ITEM_BYTES,
    MAX_STEPS,
    Interaction,
    Item,
    Score,
    Step,
)
from common.failures import Refused
from gateway.ingest.item_results import Rejected, Sorted

# A session may be named where older clients named it.
SESSION_NAMES = ("sessionId", "session_id")
MAX_NAME = 256


def sort_out(
    items: Iterable[Any], org_id: str, now: float, *, defaults: Mapping[str, Any], measured: bool, within: str = "items"
) -> Sorted:
    """The items that fit, each with its id, and a result for every one.

    An item that is a `Refused` could not be read. `defaults` hold where an item says nothing. Sizes are looked at
    where `measured` says that one could be too large.
    """
    found = Sorted()
    for index, item in enumerate(items):
        try:
            checked = _checked(item, org_id, now, defaults)
            written = checked.__pydantic_serializer__.to_json(checked, exclude_unset=True)
            if measured and len(written) > MAX_ITEM_BYTES:
                raise Rejected(413, f"The item is larger than {MAX_ITEM_BYTES} bytes.", "item_too_large")
        except Rejected as rejected:
            place = f"{within}.{index}" if within else ""
            found.results.append(rejected.result(index, item.get("id") if isinstance(item, dict) else None, place))
            continue
        found.accepted.append(b"[%d,%b]" % (index, written))
        found.results.append({"index": index, "id": checked.id, "status": 202})
        found.sessions.add(checked.session_id)
    return found


def _checked(item: Any, org_id: str, now: float, defaults: Mapping[str, Any]) -> Item:
    if isinstance(item, Refused):
        raise Rejected(item.status, item.message, item.code or "invalid_json")
    if not isinstance(item, dict):
        raise Rejected(400, "An item is a JSON object.", "invalid_value")
    given = {**defaults, **{name: value for name, value in item.items() if value is not None}}
    model = _model(given)
    checked = _validated(model, given)
    if model is Step and checked.id is None:
        raise Rejected(400, "A step has an 'id'.", "missing_required_parameter", "id")
    if checked.org_id is not None and checked.org_id != org_id:
        raise Rejected(403, "This API key belongs to another organisation.", "wrong_organization", "org_id")
    _identify(checked, now)
    _RULES[model](checked)
    return checked


def _model(given: dict[str, Any]) -> type[Item]:
    kind = given.setdefault("kind", "interaction")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Rejected(400, f"Invalid 'kind': one of {', '.join(KINDS)}.", "invalid_value", "kind")
    return model


def _validated(model: type[Item], given: dict[str, Any]) -> Item:
    try:
        checked: Item = model.__pydantic_validator__.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    else:
        return checked
    param = ".".join(str(part) for part in first["loc"])
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    raise Rejected(400, f"Invalid '{param}': {first['msg'].removeprefix('Value error, ')}.", code, param)


def _identify(item: Item, now: float) -> None:
    """Give the item an id where it has none, and see that its moments are of this time."""
    timestamp = item.timestamp
    if timestamp is not None:
        _check_moment(timestamp, now, "timestamp")
    if item.id is None:
        item.id = new_id(now if timestamp is None else timestamp)
        return
    id = item.id.lower()
    if not UUID7.fullmatch(id):
        raise Rejected(400, "Invalid 'id': a UUID of version 7 is expected.", "invalid_id", "id")
    made = moment_of(id)
    _check_moment(made, now, "id")
    if timestamp is not None and abs(timestamp - made) > MAX_APART_SECONDS:
        message = "'timestamp' and the time in 'id' are more than a day apart: make the id from the timestamp."
        raise Rejected(400, message, "time_mismatch", "timestamp")
    item.id = id


def _check_moment(moment: float, now: float, param: str) -> None:
    if not now - MAX_AGE_SECONDS <= moment <= now + MAX_AHEAD_SECONDS:
        days = MAX_AGE_SECONDS // 86_400
        message = f"Invalid '{param}': its time is more than {days} days back, or more than a day ahead of this server."
        raise Rejected(400, message, "time_out_of_range", param)


def _interaction(item: Any) -> None:
    interaction: Interaction = item
    if interaction.user_prompt is None and interaction.ai_response is None and interaction.error is None:
        raise Rejected(
            400,
            "An interaction has a 'user_prompt', an 'ai_response' or an 'error'.",
            "missing_required_parameter",
            "user_prompt",
        )
    if isinstance(interaction.step_data, list) and len(interaction.step_data) > MAX_STEPS:
        raise Rejected(400, f"Invalid 'step_data': at most {MAX_STEPS} steps.", "too_many_steps", "step_data")
    if interaction.session_id is None and interaction.metadata is not None:
        _name_session(interaction, interaction.metadata)


def _name_session(interaction: Interaction, metadata: Mapping[str, Any]) -> None:
    for name in SESSION_NAMES:
        value = metadata.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and 0 < len(str(value)) <= MAX_NAME:
            interaction.session_id = str(value)
            return


def _step(item: Any) -> None:
    step: Step = item
    if step.interaction_id is not None:
        step.interaction_id = _reference(step.interaction_id)


def _score(item: Any) -> None:
    score: Score = item
    score.interaction_id = _reference(score.interaction_id)


def _reference(id: str) -> str:
    lower = id.lower()
    if not UUID7.fullmatch(lower):
        message = "Invalid 'interaction_id': a UUID of version 7 is expected."
        raise Rejected(400, message, "invalid_id", "interaction_id")
    return lower


_RULES: Mapping[type[Item], Callable[[Any], None]] = {Interaction: _interaction, Step: _step, Score: _score}


def joined(items: list[bytes]) -> bytes:
    """The accepted items as one JSON array."""
    return b"[" + b",".join(items) + b"]"


def as_body(item: Mapping[str, Any]) -> bytes:
    """An item that was made here as the JSON that callers send."""
    return orjson.dumps(item)
