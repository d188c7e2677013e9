"""The SONANT_* variables of an environment: which are known, which cannot be, and which nobody reads."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    # The settings take a moment to load, which a start without any of them should not pay.
    from common.docs.settings import declared_in, variable
    from common.docs.sources import SETTINGS, load

    modules = [module for _, module in load(tuple(each for each in SETTINGS if is_installed(each[1])))]
    return OWN | {
        variable(declared, name, field)
        for module in modules
        for declared in declared_in(module)
        for name, field in declared.model_fields.items()
    }


def is_installed(module: str) -> bool:
    """Whether the package of this module is on this machine: an image holds one service."""
    from importlib.util import find_spec

    return find_spec(module.partition(".")[0]) is not None


def refused(environ: Mapping[str, str]) -> list[str]:
    """A line for each setting that a service would refuse. Reads the environment of this process."""
    if not _set(environ):
        return []
    from pydantic import ValidationError

    from common.docs.settings import declared_in
    from common.docs.sources import SETTINGS, load
    from common.kernel.settings import CommonSettings, refusals

    lines: dict[str, None] = {}
    for _, module in load(tuple(each for each in SETTINGS if is_installed(each[1]))):
        for declared in declared_in(module):
            if not issubclass(declared, CommonSettings):
                continue
            try:
                declared()
            except ValidationError as error:
                lines |= dict.fromkeys(refusals(error))
    return list(lines)


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
