"""`sonant say` and `sonant voices`: a text becomes a sound file."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sonant_cli.errors import CliError
from sonant_cli.gateway import Gateway, KeyOption, UrlOption, describe_error, locate
from sonant_cli.state import DataDir

# A file's name says its format.
FORMATS = {".wav": "wav", ".mp3": "mp3", ".opus": "opus", ".ogg": "opus", ".aac": "aac", ".flac": "flac", ".pcm": "pcm"}
# Of the first byte; what follows comes while it is made.
READ_SECONDS = 120.0


def say(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from the standard input.")],
    *,
    voice: Annotated[str, typer.Option(help="A voice by name, id or type of content; `sonant voices` lists them.")] = (
        "default"
    ),
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; its name says the format.")] = Path(
        "speech.wav"
    ),
    instructions: Annotated[str, typer.Option(help="How it is to sound, in words.")] = "",
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="1 is the voice's own.")] = 1.0,
    model: Annotated[str, typer.Option(help="`default`, or the provider to ask first: hume, openai, local.")] = (
        "default"
    ),
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Speak a text into a file."""
    format = FORMATS.get(output.suffix.lower())
    if format is None:
        raise CliError(f"no format is known for {output.name!r}: end it with one of {', '.join(FORMATS)}")
    body = {
        "model": model,
        "input": sys.stdin.read() if text == "-" else text,
        "voice": voice,
        "response_format": format,
        "speed": speed,
    }
    if instructions:
        body["instructions"] = instructions
    gateway = locate(url, key, DataDir.from_environment())
    size, said = _write(gateway, body, output)
    typer.echo(f"{output}: {size} bytes{said}")


def _write(gateway: Gateway, body: dict[str, Any], output: Path) -> tuple[int, str]:
    """Write the answer to the file, which appears once it is whole. Raises CliError."""
    # Loading httpx takes a quarter of a second, which commands without a request need not pay.
    import httpx

    part = output.with_name(f".{output.name}.part")
    headers, size = {"authorization": f"Bearer {gateway.key}"}, 0
    timeout = httpx.Timeout(READ_SECONDS, connect=5.0)
    try:
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=timeout) as client:
            with client.stream("POST", "/v1/audio/speech", json=body) as answer, part.open("wb") as file:
                if answer.is_error:
                    raise CliError(describe_error(answer.status_code, answer.read().decode(errors="replace")))
                for chunk in answer.iter_bytes():
                    size += file.write(chunk)
        part.replace(output)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise CliError(f"the speech did not come from {gateway.url} as a whole ({error})") from None
    except OSError as error:
        raise CliError(f"{output} cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return size, _described(answer.headers)


def _described(headers: Any) -> str:
    """Who spoke, as the answer's headers say it."""
    provider = headers.get("x-sonant-voice-provider")
    if provider is None:
        return ""
    notes = [f"spoken by {provider}"]
    notes += ["the sandbox's stand-in"] if headers.get("x-sonant-provider") == "sandbox" else []
    notes += ["kept from before"] if headers.get("x-sonant-cache") == "hit" else []
    return f" ({', '.join(notes)})"


def voices(url: UrlOption = None, key: KeyOption = None) -> None:
    """List the voices, with the content that each is for and who can speak it."""
    from rich.table import Table

    from sonant_cli.whole_table import show as show_table

    found = locate(url, key, DataDir.from_environment()).call("GET", "/v1/media/voices")
    table = Table("id", "name", "for", "spoken by", "description")
    for voice in found["voices"]:
        table.add_row(
            voice["id"],
            voice["name"],
            ", ".join(voice.get("content_types", [])),
            ", ".join(voice.get("providers", [])),
            voice.get("description", ""),
        )
    show_table(table)
