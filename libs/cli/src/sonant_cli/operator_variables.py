"""The SONANT_* variables of an environment: which are known, which cannot be, and which nobody reads."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sonant_cli.table import SERVICES, filled

if TYPE_CHECKING:
    from common.kernel.settings import CommonSettings

PREFIX = "SONANT_"
# What the command line and the sandbox read themselves; those of the services come from their settings classes.
OWN = frozenset(
    {
        "SONANT_API_KEY",
        "SONANT_FSYNC",
        "SONANT_LOG_STDOUT",
        "SONANT_MODELS_DIR",
        "SONANT_SANDBOX_DIR",
        "SONANT_SANDBOX_PORT",
        "SONANT_SANDBOX_RECORD_KEY",
        "SONANT_URL",
    }
)
# Of a models file, for the names in it; a longer one is read by its service alone.
MODELS_FILE_BYTES = 1024 * 1024


def known() -> frozenset[str]:
    """Every variable that is read by the services that are installed here, or by the command line."""
    from common.kernel.settings import variables

    return OWN.union(*(variables(declared) for declared in _declared()))


def is_installed(module: str) -> bool:
    """Whether this package is on this machine: an image holds one service."""
    return find_spec(module) is not None


def refused(environ: Mapping[str, str]) -> list[str]:
    """A line for each setting that a service would refuse. Reads the environment of this process."""
    if not _set(environ):
        return []
    from pydantic import ValidationError

    from common.kernel.settings import refusals

    lines: dict[str, None] = {}
    for declared in _declared():
        try:
            declared()
        except ValidationError as error:
            lines |= dict.fromkeys(refusals(error))
    given = filled(environ)
    return [line for line in lines if line.partition(":")[0] in given]


def _declared() -> "list[type[CommonSettings]]":
    """The settings of every service that is installed here, and those that all share."""
    # They take a moment to load, which a start without any variable should not pay.
    from common.kernel.settings import CommonSettings

    modules = [import_module(f"{each.module}.settings") for each in SERVICES if is_installed(each.module)]
    members = [member for module in modules for member in vars(module).values()]
    own = [member for member in members if isinstance(member, type) and issubclass(member, CommonSettings)]
    return [CommonSettings, *own]


def unknown(environ: Mapping[str, str]) -> list[str]:
    """A line for each variable that nobody reads, with the nearest name that somebody does."""
    given = _set(environ)
    if not given:
        return []
    names = known()
    named = _named_elsewhere(environ)
    return [_hint(name, sorted(names)) for name in given if name not in names and not _is_in(name, named)]


def _set(environ: Mapping[str, str]) -> Sequence[str]:
    return sorted(name for name in environ if name.startswith(PREFIX))


def _named_elsewhere(environ: Mapping[str, str]) -> Sequence[str]:
    """Texts in which settings name further variables, as those that hold keys."""
    texts = [text for name, text in environ.items() if name.startswith(PREFIX)]
    if file := environ.get("SONANT_MODELS_FILE"):
        try:
            with Path(file).open(errors="replace") as models:
                texts.append(models.read(MODELS_FILE_BYTES))
        except OSError:
            # Its service says so.
            return texts
    return texts


def _is_in(name: str, texts: Sequence[str]) -> bool:
    return any(name in text for text in texts)


def _hint(name: str, names: Sequence[str]) -> str:
    # Without what they all begin with, by which any two would be alike.
    own = name.removeprefix(PREFIX)
    near = difflib.get_close_matches(own, [each.removeprefix(PREFIX) for each in names], n=1, cutoff=0.75)
    return f"{name} is set, and nothing reads it" + (f"; is {PREFIX}{near[0]} meant?" if near else "")
