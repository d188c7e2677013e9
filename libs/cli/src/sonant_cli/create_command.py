"""`sonant create`: a prompt becomes a film, with its captions beside it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sonant_cli.errors import CliError
from sonant_cli.gateway import Gateway, KeyOption, UrlOption, describe_error, locate
from sonant_cli.job_commands import watch
from sonant_cli.state import DataDir

DOWNLOAD_SECONDS = 600.0


def create(
    prompt: Annotated[str, typer.Argument(help="What the film is about; it is also what is said, with `plain`.")],
    *,
    template: Annotated[str, typer.Option(help="plain, explainer, teaser; or script: a model writes one.")] = "plain",
    voice: Annotated[str, typer.Option(help="A voice by name; `sonant voices` lists them.")] = "default",
    aspect: Annotated[str, typer.Option(help="16:9, 9:16 or 1:1.")] = "16:9",
    model: Annotated[str, typer.Option(help="The model that makes the clips; `local` renders them here.")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="The film; its captions come beside it.")] = Path(
        "film.mp4"
    ),
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Make a film of a prompt, with narration and captions."""
    gateway = locate(url, key, DataDir.from_environment())
    body = {"prompt": prompt, "template": template, "voice": voice, "aspect": aspect}
    job = gateway.call("POST", "/v1/media/content", json={**body, **({"model": model} if model else {})})
    try:
        watch(job["id"], gateway.url, gateway.key)
    except CliError as error:
        raise CliError(f"{error}\n`sonant jobs retry {job['id']}` goes on from where it stopped") from None
    result = gateway.call("GET", f"/v1/jobs/{job['id']}")["result"]
    captions = output.with_suffix(".vtt")
    _fetch(gateway, result["url"], output)
    _fetch(gateway, result["captions_url"], captions)
    typer.echo(f"{output} ({result['duration']:.1f} s), {captions}")
    for said in (*result["fallbacks"], *result["warnings"]):
        typer.echo(f"note: {said}", err=True)


def _fetch(gateway: Gateway, path: str, output: Path) -> None:
    """Write an asset to a file, which is there as a whole or not at all. Raises CliError."""
    # Loading httpx takes a quarter of a second, which commands without a request need not pay.
    import httpx

    part, headers = output.with_name(f".{output.name}.part"), {"authorization": f"Bearer {gateway.key}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=DOWNLOAD_SECONDS) as client:
        try:
            with client.stream("GET", path) as answer, part.open("wb") as file:
                _write(answer, file)
            part.replace(output)
        except (httpx.TransportError, OSError) as error:
            raise CliError(f"{output} did not come as a whole ({error})") from None
        finally:
            part.unlink(missing_ok=True)


def _write(answer: Any, file: Any) -> None:
    if answer.is_error:
        raise CliError(describe_error(answer.status_code, answer.read().decode(errors="replace")))
    for chunk in answer.iter_bytes():
        file.write(chunk)
