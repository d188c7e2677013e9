"""What keeps the tree pleasant to read: short functions and files, little nesting, few arguments, one name a thing."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("libs", "services") for path in (ROOT / folder).glob("*/src/**/*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EVERYTHING = [*SOURCES, *TESTS, *sorted((ROOT / "deploy").rglob("*.py"))]

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 500
MAX_NESTING = 4
# `self` counts; what is named at the call does not.
MAX_POSITIONAL = 6

# Names that every package has, each with the same job wherever it stands.
SHARED = {
    "__init__": "what the package is",
    "__main__": "starts it as a process",
    "app": "composition root",
    "deps": "what its handlers work with",
    "handlers": "which function takes which event",
    "metrics": "its metrics",
    "ports": "what it needs from outside",
    "routes": "its routes",
    "settings": "its settings",
    "errors": "what its callers are told when something goes wrong",
    # One word of the domain, seen from more than one package.
    "audit_trail": "who did what to what",
    "catalogue": "the versioned prompts, configs, tools and voices of an organisation",
    "chat": "chat turns and their answers",
    "completions": "chat completions, as OpenAI has them",
    "embeddings": "vectors of texts, as OpenAI has them",
    "event_stream": "server-sent events, as the WHATWG describes them",
    "frames": "the frames of the live channel",
    "keys": "API keys",
    "request_reply": "a command or query and its reply",
    "resources": "versioned prompts, configs, tools and voices",
    "speech": "texts that are spoken, and their audio",
    "topics": "the topics of the log",
    "usage": "tokens that answers cost",
    "webhooks": "webhooks of providers",
    # Of a stand-in or a service: its own, with the same job.
    "calls": "what every call of a stand-in has in common",
    "faults": "the faults a stand-in makes on request, and their grammar",
    "validation": "whether what a caller sent has the right shape",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
# An `elif` is an `if` in the `else` of another one, and no level of its own.
NESTING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def lines_of(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def depth(node: ast.AST, level: int = 0) -> int:
    """How many compound statements stand inside one another; a function inside a function counts for itself."""
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*Function.__args__, ast.Lambda, ast.ClassDef)):
            continue
        inner = isinstance(child, NESTING) and not _is_elif(node, child)
        deepest = max(deepest, depth(child, level + inner))
    return deepest


def _is_elif(parent: ast.AST, child: ast.AST) -> bool:
    return isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.orelse == [child]


def positional(function: Function) -> int:
    return len(function.args.posonlyargs) + len(function.args.args)


@pytest.mark.parametrize("path", EVERYTHING, ids=named)
def test_files_and_functions_are_short_and_flat(path: Path) -> None:
    length = len(path.read_text().splitlines())
    assert length <= MAX_FILE_LINES, f"{length} lines: it holds more than one idea"
    for function in functions(path):
        where = f"{function.name}, line {function.lineno}"
        assert lines_of(function) <= MAX_FUNCTION_LINES, f"{where}: {lines_of(function)} lines"
        assert depth(function) <= MAX_NESTING, f"{where}: nested {depth(function)} deep"
        assert positional(function) <= MAX_POSITIONAL, f"{where}: {positional(function)} positional arguments"


def test_a_module_name_stands_for_one_thing() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        if path.stem not in SHARED:
            found[path.stem].append(named(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text()))
    assert said, "no docstring"
    assert said.split("\n\n")[0].rstrip().endswith((".", ":")), said
