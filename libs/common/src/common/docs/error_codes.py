"""The reference of error codes: what the code refuses with, read from its syntax trees.

A refusal is a call of `Refused` or `ReplyError`, or of a function that hands its own arguments to one. Nothing is run.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from common.docs import sources
from common.docs.markdown import code, page, table

HEADER = ("code", "status", "from", "message")
INTRO = (
    'Every error has one shape: `{"error": {"message", "type", "param", "code"}}`. Programs decide by `code` and by '
    "the status; messages are for people and may change. `…` stands for what differs from case to case. Codes that "
    "upstreams and providers send are passed on, and not in this table."
)
T = TypeVar("T")

ROOTS: Mapping[str, Sequence[str]] = {
    "Refused": ("status", "message", "code"),
    "ReplyError": ("status", "message", "type", "code"),
}


@dataclass(frozen=True)
class Refusal:
    """One place that refuses. What is None differs from case to case."""

    status: int | None
    code: str | None
    message: str | None
    origin: str


@dataclass(frozen=True)
class _Wrapper:
    """A function that refuses with what it is given: its parameters, their defaults, and the call it makes."""

    parameters: Sequence[str]
    defaults: Mapping[str, ast.expr]
    inner: Mapping[str, ast.expr]


@cache
def reference(root: Path) -> str:
    """The page, in Markdown; what is written does not change while it is compared."""
    rows: dict[tuple[str, int], tuple[set[str], str]] = {}
    for each in refusals(root):
        if each.code is not None and each.status is not None:
            origins, message = rows.setdefault((each.code, each.status), (set(), ""))
            origins.add(each.origin)
            rows[each.code, each.status] = (origins, message or each.message or "")
    lines = [
        (code(name), str(status), ", ".join(sorted(origins)), message)
        for (name, status), (origins, message) in sorted(rows.items())
    ]
    return page("Error codes", INTRO, table(HEADER, lines))


def refusals(root: Path) -> Iterator[Refusal]:
    """All refusals in the code under `root`."""
    trees = {path: ast.parse(path.read_text()) for folder in sources.REFUSING for path in _files(root / folder)}
    wrappers = {path: _wrappers(tree) for path, tree in trees.items()}
    public = {path: _public(names) for path, names in wrappers.items()}
    shared = {name: found for names in public.values() for name, found in names.items()}
    near: dict[str, dict[str, _Wrapper]] = {}
    for path, names in public.items():
        near.setdefault(_origin(path.relative_to(root)), {}).update(names)
    for path, tree in trees.items():
        origin = _origin(path.relative_to(root))
        assigned = _assigned(tree)
        known = {**shared, **near[origin], **wrappers[path]}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if (given := _given(call, known)) is not None:
                yield from _told(_resolved(given, call.lineno, assigned), origin)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "docs" not in path.parts)


def _origin(path: Path) -> str:
    return path.parts[1] if path.parts[0] == "services" else "every service"


def _public(names: Mapping[str, _Wrapper]) -> dict[str, _Wrapper]:
    return {name: found for name, found in names.items() if not name.startswith("_")}


def _wrappers(tree: ast.Module) -> dict[str, _Wrapper]:
    found = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        calls = [call for call in ast.walk(function) if isinstance(call, ast.Call) and _name(call) in ROOTS]
        if len(calls) == 1:
            arguments = function.args
            named = [each.arg for each in (*arguments.args, *arguments.kwonlyargs)]
            positional = dict(zip([each.arg for each in arguments.args][::-1], arguments.defaults[::-1], strict=False))
            keyword = zip([each.arg for each in arguments.kwonlyargs], arguments.kw_defaults, strict=True)
            defaults = positional | {name: value for name, value in keyword if value is not None}
            found[function.name] = _Wrapper(named, defaults, _bound(calls[0], ROOTS[_name(calls[0])]))
    return found


def _name(call: ast.Call) -> str:
    target = call.func
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def _bound(call: ast.Call, parameters: Sequence[str]) -> dict[str, ast.expr]:
    bound = dict(zip(parameters, call.args, strict=False))
    return bound | {each.arg: each.value for each in call.keywords if each.arg is not None}


def _given(call: ast.Call, known: Mapping[str, _Wrapper]) -> Mapping[str, ast.expr] | None:
    """What a call refuses with: of a wrapper, with its parameters filled in."""
    name = _name(call)
    if name in ROOTS:
        return _bound(call, ROOTS[name])
    wrapper = known.get(name)
    if wrapper is None:
        return None
    own = {**wrapper.defaults, **_bound(call, wrapper.parameters)}
    return {
        part: own.get(value.id, value) if isinstance(value, ast.Name) else value
        for part, value in wrapper.inner.items()
    }


def _assigned(tree: ast.Module) -> list[tuple[int, str, ast.expr]]:
    """What is assigned to names, by line."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    return sorted(
        ((node.lineno, getattr(node.targets[0], "id", ""), node.value) for node in found), key=lambda each: each[0]
    )


def _resolved(
    given: Mapping[str, ast.expr], line: int, assigned: Sequence[tuple[int, str, ast.expr]]
) -> dict[str, ast.expr]:
    """With names replaced by what was assigned to them last before the line."""
    if not any(isinstance(value, ast.Name) for value in given.values()):
        return dict(given)
    values = {name: value for at, name, value in assigned if at < line}
    return {part: values.get(getattr(value, "id", "-"), value) for part, value in given.items()}


def _told(given: Mapping[str, ast.expr], origin: str) -> Iterator[Refusal]:
    status, message = given.get("status"), _text(given.get("message"))
    for number in _constants(status, int):
        for name in _constants(given.get("code"), str):
            yield Refusal(number, name, message, origin)


def _constants(value: ast.expr | None, kind: type[T]) -> list[T]:
    """The values that an expression may have, where it says them: a constant, or a choice of two."""
    if isinstance(value, ast.IfExp):
        return [*_constants(value.body, kind), *_constants(value.orelse, kind)]
    if isinstance(value, ast.BoolOp):
        return [found for each in value.values for found in _constants(each, kind)]
    return [value.value] if isinstance(value, ast.Constant) and isinstance(value.value, kind) else []


def _text(value: ast.expr | None) -> str | None:
    """A message as it is written, with `…` for what is filled in."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in value.values)
    return None
