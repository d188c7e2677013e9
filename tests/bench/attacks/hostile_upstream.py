"""An upstream that means harm: `python -m tests.bench.attacks.hostile_upstream` prints its port.

The model of a request says what it gets. Every answer is a stream unless the request wants it whole.
"""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson
import uvloop

from tests.bench.upstream import END, HEAD, Request, http_chunk, take_request

READ_BYTES = 256 * 1024
LARGE_BYTES = 7_500_000
PIECE_BYTES = 50_000
EXCLAMATIONS = 60_000
SLOW_CHUNKS = 600
TRAILER = b"x-more: " + b"y" * 8000 + b"\r\n"

Answer = Callable[[asyncio.StreamWriter, dict[str, object]], Awaitable[None]]


def event(content: str, finish: str | None = None) -> bytes:
    """One chunk of an answer, in the framing of HTTP."""
    delta = {"content": content} if content else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return http_chunk(b"data: " + orjson.dumps(body) + b"\n\n")


DONE = event("", "stop") + http_chunk(b"data: [DONE]\n\n") + END


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write, and wait until the reader has kept up; raises ConnectionResetError where it has gone."""
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(data)
    await writer.drain()


async def large(writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    """7.5 MB of text, as fast as they are taken; whole where the request asks for that."""
    text = "All work and no play. " * (PIECE_BYTES // 22)
    if not body.get("stream"):
        await send(writer, whole(text * (1_000_000 // len(text))))
        return
    await send(writer, HEAD)
    for _ in range(LARGE_BYTES // len(text)):
        await send(writer, event(text))
    await send(writer, DONE)


async def trailers(writer: asyncio.StreamWriter, _: dict[str, object]) -> None:
    """An answer whose trailers never end."""
    await send(writer, HEAD + event("Hello.") + event("", "stop") + http_chunk(b"data: [DONE]\n\n") + b"0\r\n")
    while True:
        await send(writer, TRAILER * 32)


async def exclaims(writer: asyncio.StreamWriter, _: dict[str, object]) -> None:
    """One chunk of sixty thousand exclamation marks."""
    await send(writer, HEAD + event("!" * EXCLAMATIONS) + DONE)


async def slow(writer: asyncio.StreamWriter, _: dict[str, object]) -> None:
    """A word every second, for ten minutes."""
    await send(writer, HEAD)
    for number in range(SLOW_CHUNKS):
        await send(writer, event(f"word {number}. "))
        await asyncio.sleep(1.0)
    await send(writer, DONE)


async def silent(_: asyncio.StreamWriter, __: dict[str, object]) -> None:
    """Nothing, ever."""
    await asyncio.Event().wait()


async def spends(writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    """As many words as may be asked for, each a token."""
    wanted = body.get("max_tokens") or body.get("max_completion_tokens")
    words = min(int(wanted), 20_000) if isinstance(wanted, int) else 20_000
    await send(writer, HEAD)
    for _ in range(words // 100):
        await send(writer, event("word " * 100))
    await send(writer, DONE)


def whole(text: str) -> bytes:
    """A whole answer with this text."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = orjson.dumps(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def brief(writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    """One word."""
    await send(writer, HEAD + event("Yes.") + DONE if body.get("stream") else whole("Yes."))


ANSWERS: dict[str, Answer] = {
    "large": large,
    "trailers": trailers,
    "exclaims": exclaims,
    "slow": slow,
    "silent": silent,
    "spends": spends,
    "brief": brief,
}


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request after the other."""
    inbox = bytearray()
    with suppress(OSError):
        while data := await reader.read(READ_BYTES):
            inbox += data
            while (request := take_request(inbox)) is not None:
                await answer(writer, request)
    writer.close()


async def answer(writer: asyncio.StreamWriter, request: Request) -> None:
    """What the model of the request says; the list of models to whoever asks for that."""
    if not request.path.endswith(b"/chat/completions"):
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "bench"} for name in ANSWERS]
        body = orjson.dumps({"object": "list", "data": models})
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await send(writer, head % len(body) + body)
        return
    body = orjson.loads(request.body)
    await ANSWERS.get(str(body.get("model")), brief)(writer, body)


async def serve(port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT; prints the port once it listens."""
    server = await asyncio.start_server(serve_connection, "127.0.0.1", port, limit=READ_BYTES, backlog=4096)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    """Command line: `python -m tests.bench.attacks.hostile_upstream --port 9200`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; it is printed")
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
