"""The error of an upstream, in whichever shape it comes: the reason, a code, and what kind of error it is."""

import html
from enum import Enum, auto
from typing import Any, NamedTuple

from common.redaction import redact_text
from llm_stream.upstream import wording
from llm_stream.upstream.values import JsonObject, name, number, parse, storable

MAX_REASON_CHARACTERS = 2000
MAX_NESTING = 6


class ErrorKind(Enum):
    """What to do about an error."""

    TOO_LONG = auto()  # the conversation does not fit this model
    RATE_LIMITED = auto()  # later
    OVERLOADED = auto()  # somebody else, or later
    REFUSED = auto()  # the request is at fault, whoever is asked
    FILTERED = auto()  # refused on grounds of content
    OURS = auto()  # our key, address or model name is at fault
    BROKEN = auto()  # the server failed


class ReportedError(NamedTuple):
    """What an upstream says went wrong; nothing in it looks like a secret."""

    kind: ErrorKind
    reason: str
    status: int | None  # of HTTP, or as the error itself tells it
    code: str | None
    type: str | None
    param: str | None


# -- the readers -------------------------------------------------------------------------------------------------------


def read_error_body(body: bytes, status: int) -> ReportedError:
    """The error behind a status that is not 2xx, whatever its body is."""
    try:
        value = parse(body)
    except ValueError:
        return _reported({}, _page_text(body), status, status)
    found = _located(value) or _flat(value)
    return _reported(found, _text(value) if not found else "", status, status)


def error_in(value: Any) -> ReportedError | None:
    """The error that stands where an answer was due, in a body or an event of a 200; None where there is none."""
    found = _located(value)
    if not found:
        return None
    return _reported(found, "", _told_status(found), None)


def _located(value: Any, depth: int = 0) -> JsonObject:
    """The innermost object that tells the error; empty where nothing looks like one."""
    if isinstance(value, list):
        return next((found for each in value if (found := _located(each, depth + 1))), {}) if depth < 2 else {}
    if not isinstance(value, dict) or depth > MAX_NESTING:
        return {}
    if error := value.get("error"):
        outer = {key: value[key] for key in ("code", "type", "error_type", "status", "param") if key in value}
        if isinstance(error, dict):
            return {**outer, **(error if error.get("message") else _located(error, depth + 1) or error)}
        return {**outer, "message": error}
    if "choices" not in value and (detail := value.get("detail")):
        return _located(detail, depth + 1) or _flat(detail) or {**_flat(value), "message": detail}
    if isinstance(value.get("errors"), list) and value["errors"] and "choices" not in value:
        return _flat(value["errors"][0]) or {"message": value["errors"]}
    return value if _says_error(value) else {}


def _says_error(value: JsonObject) -> bool:
    """Whether a flat object is an error and no chunk."""
    if "choices" in value or not value.get("message"):
        return False
    kinds = f"{value.get('object')} {value.get('type')}".lower()
    return "error" in kinds or any(value.get(key) for key in ("code", "status"))


def _flat(value: Any) -> JsonObject:
    return value if isinstance(value, dict) and any(key in value for key in ("message", "msg", "code")) else {}


def _reported(found: JsonObject, text: str, status: int | None, http: int | None) -> ReportedError:
    reason = _reason(found, text)
    names = {each.lower() for key in ("code", "type", "error_type", "status") if (each := name(found.get(key)))}
    kind = _kind(status, names, reason)
    if not reason:
        reason = "the upstream reported an error" if http is None else f"the upstream answered {http}"
    code = _code(found.get("code"))
    if kind is ErrorKind.TOO_LONG:
        code = code if (code or "").lower() in wording.TOO_LONG else "context_length_exceeded"
    type_ = name(found.get("type")) or name(found.get("error_type"))
    return ReportedError(kind, reason, status, code, None if type_ == "error" else type_, _param(found))


def _kind(status: int | None, names: set[str], reason: str) -> ErrorKind:
    """Codes and statuses before words; words before the mere status."""
    if names & wording.FILTERED:
        return ErrorKind.FILTERED
    if status not in wording.OURS_STATUSES and (names & wording.TOO_LONG or wording.TOO_LONG_WORDS.search(reason)):
        return ErrorKind.TOO_LONG
    by_status = _kind_of_status(status)
    if by_status not in (None, ErrorKind.REFUSED, ErrorKind.BROKEN):
        return by_status
    if names & wording.OURS or (by_status is not ErrorKind.BROKEN and wording.OURS_WORDS.search(reason)):
        return ErrorKind.OURS
    if names & wording.RATE_LIMITED:
        return ErrorKind.RATE_LIMITED
    if names & wording.OVERLOADED:
        return ErrorKind.OVERLOADED
    if by_status is None and names & wording.REFUSED:
        return ErrorKind.REFUSED
    return by_status or _kind_of_words(reason)


def _kind_of_status(status: int | None) -> ErrorKind | None:
    if status is None:
        return None
    if status in wording.OURS_STATUSES or status < 400:
        return ErrorKind.OURS
    if status in wording.REFUSED_STATUSES:
        return ErrorKind.TOO_LONG if status == 413 else ErrorKind.REFUSED
    if status == 429:
        return ErrorKind.RATE_LIMITED
    return ErrorKind.OVERLOADED if status in (503, 529) else ErrorKind.BROKEN


def _kind_of_words(reason: str) -> ErrorKind:
    if wording.RATE_LIMITED_WORDS.search(reason):
        return ErrorKind.RATE_LIMITED
    return ErrorKind.OVERLOADED if wording.OVERLOADED_WORDS.search(reason) else ErrorKind.BROKEN


def _told_status(found: JsonObject) -> int | None:
    """The HTTP status that an error within a 200 tells, if it does."""
    for key in ("status_code", "status", "code"):
        told = number(found.get(key))
        if told is not None and 400 <= told < 600:
            return int(told)
    return None


def _code(value: Any) -> str | None:
    """The code as clients know them: a number that only repeats a status is none."""
    told = number(value)
    return None if told is not None and 100 <= told < 600 else name(value)


def _param(found: JsonObject) -> str | None:
    if isinstance(param := found.get("param"), str):
        return name(param)
    details = found.get("message")
    first = details[0] if isinstance(details, list) and details else None
    if isinstance(first, dict) and isinstance(first.get("loc"), list):
        return name(_path(first["loc"]))
    return None


# -- reasons -----------------------------------------------------------------------------------------------------------


def _reason(found: JsonObject, text: str) -> str:
    said = _text(found.get("message") or found.get("msg")) or text
    metadata = found.get("metadata")
    # OpenRouter quotes the provider it asked.
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw:
        said = f"{said}: {raw}"
    # Cut only afterwards: half a secret is not recognised.
    return redact_text(storable(said).strip())[:MAX_REASON_CHARACTERS]


def _text(value: Any, depth: int = 0) -> str:
    """What a value says in words: a text, an object's message, every entry of a list (pydantic's among them)."""
    if isinstance(value, str):
        return value
    if depth > MAX_NESTING:
        return ""
    if isinstance(value, list):
        return "; ".join(text for each in value[:20] if (text := _text(each, depth + 1)))
    if not isinstance(value, dict):
        return ""
    said = next((value[key] for key in ("message", "msg", "detail", "error") if value.get(key)), "")
    text = _text(said, depth + 1)
    place = _path(value["loc"]) if isinstance(value.get("loc"), list) else ""
    return f"{place}: {text}" if place and text else text


def _path(loc: list[Any]) -> str:
    return ".".join(str(part) for part in loc if part != "body")


def _page_text(body: bytes) -> str:
    """The title of a page, or the beginning of a text that is none."""
    text = body.decode("utf-8", "replace").strip()
    if not text.startswith("<"):
        return text[:MAX_REASON_CHARACTERS] if text.isprintable() or "\n" in text else ""
    title = wording.PAGE_TITLE.search(text)
    return " ".join(html.unescape(title[2]).split()) if title else ""
