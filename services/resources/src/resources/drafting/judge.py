"""Judging a drafted tool: what a model wrote goes in, the tool or every reason against it comes out.

Nothing here asks anybody or waits, and no input takes long: sizes are checked before anything is read closely.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from resources.drafting.rules import names, parameter_schemas, samples, texts
from resources.drafting.rules.reasons import Reason

MAX_DRAFT_CHARS = 64 * 1024
# Deeper than any schema that is allowed, and far from the limits of recursion.
MAX_NESTING = 32
# The largest whole number that every JSON reader keeps exactly has 16 digits.
MAX_NUMBER = 10**15
MAX_DESCRIPTION = 1_000
MAX_FALLBACK = 500
# Enough to repair a draft by; a hostile one has thousands.
MAX_REASONS = 20

MEMBERS = ("name", "description", "parameters", "fallback_content")
# Strings are skipped, so that brackets in them do not count; one that never ends is skipped to the end, once.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Draft:
    """A tool as a model drafts it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]
    fallback_content: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The draft where it could be read, and why it is refused; without reasons it may be used."""

    draft: Draft | None
    reasons: tuple[Reason, ...]


class _Unreadable(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def judge(raw: str, *, inputs: Sequence[str] = (), taken: Collection[str] = ()) -> Verdict:
    """Judge what a model answered. `inputs` are the names it was asked for, `taken` those of the other tools."""
    try:
        document = read_json(raw)
    except _Unreadable as unreadable:
        return Verdict(None, (Reason(unreadable.code, "draft"),))
    reasons = tuple(_members(document))
    if reasons:
        return Verdict(None, reasons)
    draft = Draft(**document)
    return Verdict(draft, judge_draft(draft, inputs=inputs, taken=taken))


def judge_tool(name: str, content: dict[str, Any], *, taken: Collection[str] = ()) -> tuple[Reason, ...]:
    """Judge a stored tool, whose `content` has its parameters as a string."""
    try:
        parameters = read_json(content["parameters"])
    except _Unreadable as unreadable:
        return (Reason(unreadable.code, "parameters"),)
    if not isinstance(parameters, dict):
        return (Reason("member_type", "parameters"),)
    draft = Draft(name, content.get("description") or "", parameters, content.get("fallback_content") or "")
    return judge_draft(draft, inputs=(), taken=taken)


def judge_draft(draft: Draft, *, inputs: Sequence[str], taken: Collection[str]) -> tuple[Reason, ...]:
    """Every reason against a draft that could be read, each once; the dry run comes only after all else is well."""
    reasons = tuple(dict.fromkeys(islice(_faults(draft, inputs, taken), MAX_REASONS)))
    return reasons or tuple(samples.judged(draft.parameters))


def _faults(draft: Draft, inputs: Sequence[str], taken: Collection[str]) -> Iterator[Reason]:
    yield from names.tool_name(draft.name[: texts.MAX_LINE], taken)
    yield from (Reason(code, "name") for code in texts.identifier_faults(draft.name[: texts.MAX_LINE]))
    yield from _text(draft.description, "description", MAX_DESCRIPTION)
    yield from _text(draft.fallback_content, "fallback_content", MAX_FALLBACK)
    yield from parameter_schemas.judged(draft.parameters, inputs)
    yield from _taken_together(draft)


def _text(text: str, where: str, longest: int) -> Iterator[Reason]:
    if not text.strip():
        yield Reason("text_empty", where)
    yield from texts.judged(text, where, longest=longest)


def _taken_together(draft: Draft) -> Iterator[Reason]:
    """What only the texts one after the other say: a sentence cut into the descriptions of several properties."""
    parts = [draft.description, *parameter_schemas.prose(draft.parameters), draft.fallback_content]
    together = " ".join(part.strip() for part in parts)[: parameter_schemas.MAX_BYTES]
    yield from (Reason(code, "draft") for code in texts.telling_faults(together))


# -- reading ---------------------------------------------------------------------------------------------------


def read_json(raw: str) -> Any:
    """One JSON document, bounded in size and depth, without repeated members, infinities and huge numbers."""
    if len(raw) > MAX_DRAFT_CHARS:
        raise _Unreadable("draft_too_large")
    if _depth(raw) > MAX_NESTING:
        raise _Unreadable("too_nested")
    try:
        return json.loads(
            raw, object_pairs_hook=_once_each, parse_constant=_not_json, parse_int=_whole, parse_float=_real
        )
    except (ValueError, RecursionError):
        raise _Unreadable("not_json") from None


def _depth(raw: str) -> int:
    depth = deepest = 0
    for token in _BRACKETS.finditer(raw):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise _Unreadable("duplicate_member")
    return document


def _not_json(constant: str) -> NoReturn:
    raise _Unreadable("not_json")


def _whole(digits: str) -> int:
    if len(digits) > len(str(MAX_NUMBER)):
        raise _Unreadable("number_too_large")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if abs(value) > MAX_NUMBER:
        raise _Unreadable("number_too_large")
    return value


def _members(document: object) -> Iterator[Reason]:
    if not isinstance(document, dict):
        yield Reason("not_object", "draft")
        return
    if not document.keys() <= set(MEMBERS):
        yield Reason("unknown_member", "draft")
    if not set(MEMBERS) <= document.keys():
        yield Reason("missing_member", "draft")
    for member in MEMBERS:
        wanted = dict if member == "parameters" else str
        if member in document and not isinstance(document[member], wanted):
            yield Reason("member_type", member)
