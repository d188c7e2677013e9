"""`python -m common.docs` writes the generated files of the repository; `--check` names those that differ."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.docs import (
    asyncapi,
    command_line,
    error_codes,
    flow_pictures,
    metrics,
    models_file,
    route_scopes,
    settings,
    topics,
)
from common.docs.schemas import breaches, schemas

# This file stands in libs/common/src/common/docs of the repository.
REPOSITORY = Path(__file__).resolve().parents[5]
SCHEMAS = "libs/common/src/common/events/schemas"
# Beside the events, since the gateway serves it.
ASYNCAPI = "libs/common/src/common/events/asyncapi.json"
REFERENCE = "deploy/reference"


def generated() -> dict[str, str]:
    """Every generated file by its path from the root of the repository."""
    return {
        **{f"{SCHEMAS}/{name}": _json(schema) for name, schema in schemas().items()},
        ASYNCAPI: _json(asyncapi.document()),
        f"{REFERENCE}/topics.md": topics.reference(),
        f"{REFERENCE}/settings.md": settings.reference(),
        f"{REFERENCE}/metrics.md": metrics.reference(),
        f"{REFERENCE}/models-file.md": models_file.reference(),
        f"{REFERENCE}/scopes.md": route_scopes.reference(),
        f"{REFERENCE}/cli.md": command_line.reference(),
        f"{REFERENCE}/errors.md": error_codes.reference(REPOSITORY),
        f"{REFERENCE}/flows.md": flow_pictures.reference(),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def broken_promises(root: Path) -> list[str]:
    """What the declarations would break for readers of the frozen schemas under `root`."""
    current = schemas()
    problems = []
    for path in sorted((root / SCHEMAS).glob("*.json")):
        if path.name not in current:
            problems.append(f"{path.name} is not declared any more: delete it once nobody reads such records")
            continue
        found = breaches(json.loads(path.read_text()), current[path.name])
        problems += [f"{path.name}: {breach}; declare a new major version beside it" for breach in found]
    return problems


def differing(root: Path) -> list[str]:
    """Paths of generated files that are missing or not as they would be written."""
    return [
        path for path, text in generated().items() if not (root / path).is_file() or (root / path).read_text() != text
    ]


def write(root: Path) -> None:
    """Write every generated file under `root`."""
    for path, text in generated().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def main(arguments: Sequence[str]) -> int:
    """The command; 1 when a file differs or a frozen schema would be broken, in which case nothing is written."""
    parser = argparse.ArgumentParser(prog="python -m common.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if a file differs")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the repository (default: this one)")
    options = parser.parse_args(arguments)
    problems = broken_promises(options.root)
    if options.check:
        problems += [f"{path} differs: run make generate" for path in differing(options.root)]
    elif not problems:
        write(options.root)
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
