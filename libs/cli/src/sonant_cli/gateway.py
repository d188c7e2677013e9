"""The gateway as the commands reach it: where it is, with which key, and what its errors say."""

import json
import os
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from sonant_cli.errors import CliError
from sonant_cli.state import DataDir
from sonant_cli.table import gateway_port

TIMEOUT = 30.0

UrlOption = Annotated[str | None, typer.Option("--url", envvar="SONANT_URL", help="Where the gateway listens.")]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", envvar="SONANT_API_KEY", help="An API key; the first admin key by default."),
]


@dataclass(frozen=True)
class Gateway:
    """Address (without a trailing slash) and API key of a gateway."""

    url: str
    key: str

    def call(self, method: str, path: str, **request: Any) -> Any:
        """The JSON answer of one request; `request` as httpx takes it.

        Raises:
            CliError: no answer, or an error answer.
        """
        # Loading httpx takes a quarter of a second, which commands without a request need not pay.
        import httpx

        headers = {"authorization": f"Bearer {self.key}"}
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT) as client:
                answer = client.request(method, path, **request)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise CliError(f"no answer from {self.url} ({error}): is `sonant up` running?") from None
        if answer.is_error:
            raise CliError(describe_error(answer.status_code, answer.text))
        try:
            return answer.json()
        except ValueError:
            raise CliError(f"{answer.url} is no Sonant gateway: its answer is not JSON") from None


def locate(url: str | None, key: str | None, data: DataDir) -> Gateway:
    """The gateway given by the options, else the one `sonant up` runs from `data`.

    Raises:
        CliError: no key was given and none is on disk.
    """
    where = url or data.read_run().get("url") or f"http://127.0.0.1:{gateway_port(os.environ)}"
    return Gateway(where.rstrip("/"), key or _first_key(data))


def _first_key(data: DataDir) -> str:
    try:
        return data.admin_key.read_text().strip()
    except OSError:
        raise CliError(f"no API key: give --key or SONANT_API_KEY (none in {data.admin_key})") from None


def describe_error(status: int, text: str) -> str:
    """One line for an error answer; one in the OpenAI shape shows its own message."""
    try:
        error = json.loads(text)["error"]
        message, code = error["message"], error.get("code") or error.get("type")
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered {status}: {' '.join(text.split())[:200]}"
    return f"{' '.join(str(message).split())} ({status}{f', {code}' if code else ''})"
