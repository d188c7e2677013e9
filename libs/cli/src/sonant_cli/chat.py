"""`sonant chat`: a conversation in the terminal that streams and can be interrupted."""

import asyncio
import signal
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

import typer

from sonant_cli.gateway import Gateway, KeyOption, UrlOption, locate
from sonant_cli.state import DataDir

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

LEAVE = {"/quit", "/exit"}
# After an interruption the gateway ends the stream by itself; this is only for one that does not.
END_PATIENCE = 2.0


def chat(
    model: Annotated[str, typer.Option(help="The model alias that answers.")] = "default",
    session: Annotated[str | None, typer.Option(help="Continue under this session id.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Talk to a model: Ctrl-C interrupts an answer, Ctrl-C at the prompt or /quit leaves."""
    gateway = locate(url, key, DataDir.from_environment())
    conversation = Conversation(gateway, model, session or f"chat-{uuid.uuid4().hex[:12]}")
    typer.echo(f"{model} on {gateway.url}, session {conversation.session} (/quit leaves)")
    # Loading the client takes about a second, which passes while the user types.
    Thread(target=import_module, args=["openai"], daemon=True).start()
    with asyncio.Runner() as runner:
        try:
            while (text := _prompt()) is not None:
                runner.run(conversation.turn(text))
        finally:
            runner.run(conversation.close())
    if conversation.failed and not sys.stdin.isatty():
        # A script hears of it; who types has seen it.
        raise typer.Exit(1)


def _prompt() -> str | None:
    """What the user says next; None to leave."""
    try:
        text = input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        typer.echo()
        return None
    return None if text in LEAVE else text


@dataclass
class Conversation:
    """One session: the messages so far, and the client that sends the next one."""

    gateway: Gateway
    model: str
    session: str
    messages: "list[ChatCompletionMessageParam]" = field(default_factory=list)
    # Whether any answer failed.
    failed: bool = False
    _client: "AsyncOpenAI | None" = None

    async def turn(self, text: str) -> None:
        """Ask, and show the answer as it comes; what was shown becomes part of the conversation."""
        if not text:
            return
        self.messages.append({"role": "user", "content": text})
        shown: list[str] = []
        answer = asyncio.create_task(self._answer(shown))
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, interrupted.set)
        try:
            await self._until_done(answer, interrupted)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            typer.echo()
        if shown:
            self.messages.append({"role": "assistant", "content": "".join(shown)})

    async def _until_done(self, answer: "asyncio.Task[None]", interrupted: asyncio.Event) -> None:
        interruption = asyncio.create_task(interrupted.wait())
        await asyncio.wait([answer, interruption], return_when=asyncio.FIRST_COMPLETED)
        if interruption.done():
            typer.echo(f"\n{await self._interrupt()}", nl=False)
            await asyncio.wait([answer], timeout=END_PATIENCE)
        interruption.cancel()
        answer.cancel()
        await asyncio.wait([answer, interruption])
        if not answer.cancelled():
            answer.result()

    async def _answer(self, shown: list[str]) -> None:
        import openai

        try:
            stream = await self._open().chat.completions.create(
                model=self.model, messages=self.messages, stream=True, extra_headers={"x-session-id": self.session}
            )
            async with stream:
                async for chunk in stream:
                    _show(chunk.choices[0].delta.content if chunk.choices else None, shown)
        except openai.APIError as error:
            self.failed = True
            typer.secho(f"error: {error.message}", fg="red", nl=False, err=True)

    async def _interrupt(self) -> str:
        """Stop the answer over the connection pool already open; what came of it, as one line."""
        from openai import APIError

        interruption = {"type": "user_interruption", "time": {"timestamp": int(time.time() * 1000)}}
        path = f"/sessions/{quote(self.session, safe='')}/interrupt"
        try:
            stopped = cast("dict[str, Any]", await self._open().post(path, cast_to=object, body=interruption))
        except APIError as error:
            return f"error: {error.message}"
        return "\n".join(describe_receipt(receipt) for receipt in stopped["receipts"])

    def _open(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI

        if self._client is None:
            self._client = AsyncOpenAI(base_url=f"{self.gateway.url}/v1", api_key=self.gateway.key, max_retries=0)
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _show(text: str | None, shown: list[str]) -> None:
    if text:
        shown.append(text)
        typer.echo(text, nl=False)


def describe_receipt(receipt: Mapping[str, Any]) -> str:
    """The stop receipt as one line; times in it are unix seconds."""
    closed, signalled = receipt.get("upstream_closed_at"), receipt.get("signal_at")
    generated, delivered = receipt.get("generated_tokens", 0), receipt.get("delivered_tokens", 0)
    when = f"{(closed - signalled) * 1000:.1f} ms after the signal" if closed and signalled else "already"
    return f"[interrupted: upstream closed {when}; tokens generated {generated}, delivered {delivered}]"
