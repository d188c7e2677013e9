"""Conversations of any kind, and what the reference tokenizer says that they cost."""

import base64
import hashlib
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import tiktoken
from hypothesis import strategies as st

from llm_stream.adapters import bpe

Message: TypeAlias = dict[str, Any]
Encode: TypeAlias = Callable[[str], list[int]]

# What a call costs beside its name and arguments is not published; the guess of `context.outline`.
CALL_TOKENS = 8
MOST_MESSAGES = 5_000
IDS = ("a", "b", "c")


def _png(width: int, height: int) -> str:
    """The head of an image, as a `data:` URL."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    return "data:image/png;base64," + base64.b64encode(head).decode()


# With the tokens that OpenAI's guide gives for these sizes.
IMAGES = (
    ({"url": _png(1024, 1024), "detail": "high"}, 765),
    ({"url": _png(2048, 4096), "detail": "high"}, 1105),
    ({"url": _png(4096, 8192), "detail": "low"}, 85),
)


@pytest.fixture(scope="session", params=["o200k_base", "cl100k_base"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    """A tokenizer as `tiktoken` itself makes it, its table where it looks for what it has fetched."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("tables")
    address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    table = bpe._table(name)  # tiktoken checks that it is the right one
    Path(folder, hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()).write_bytes(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        return tiktoken.get_encoding(name)


def reference_tokens(message: Message, encode: Encode) -> int:
    """A message as OpenAI's cookbook counts it, with images by OpenAI's guide."""
    tokens = 3 + len(encode(message["role"]))
    content = message.get("content")
    parts: list[Message] = [{"text": content}] if isinstance(content, str) else content or []
    for part in parts:
        tokens += len(encode(part["text"])) if "text" in part else _image_tokens(part["image_url"])
    if name := message.get("name"):
        tokens += 1 + len(encode(name))
    called = [call["function"] for call in message.get("tool_calls", [])]
    for function in [*called, *([message["function_call"]] if "function_call" in message else [])]:
        tokens += CALL_TOKENS + len(encode(function["name"])) + len(encode(function["arguments"]))
    return tokens


def _image_tokens(image: dict[str, str]) -> int:
    return next(tokens for known, tokens in IMAGES if known == image)


# -- what a conversation may hold ---------------------------------------------------------------------------------

TEXTS = st.text(max_size=60) | st.sampled_from(
    ["", " " * 500, "word " * 300, "<|endoftext|>", "half \ud800 a character", "\U0001f44d\U0001f3fd" * 40, "漢字" * 90]
)
IMAGE_PARTS = st.sampled_from([{"type": "image_url", "image_url": image} for image, _ in IMAGES])
# One image at most: of more than 5,000 in a request the size is not read.
PARTS = st.builds(
    lambda texts, images: [*({"type": "text", "text": text} for text in texts), *images],
    st.lists(TEXTS, max_size=4),
    st.lists(IMAGE_PARTS, max_size=1),
)
CALLS = st.lists(
    st.builds(
        lambda id, text: {"id": id, "type": "function", "function": {"name": "look_up", "arguments": text}},
        st.sampled_from(IDS),
        TEXTS,
    ),
    min_size=1,
    max_size=3,
)


def _message(role: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.fixed_dictionaries({"role": st.just(role), **more})


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    _message("user", content=TEXTS),
    _message("user", content=PARTS),
    _message("assistant", content=TEXTS),
    _message("system", content=TEXTS),
    _message("developer", content=TEXTS, name=st.just("house")),
    _message("assistant", tool_calls=CALLS),
    _message("assistant", content=st.none(), tool_calls=CALLS),
    _message("tool", content=TEXTS, tool_call_id=st.sampled_from(IDS)),
    _message("assistant", content=st.none(), function_call=st.just({"name": "look_up", "arguments": "{}"})),
    _message("function", content=TEXTS, name=st.just("look_up")),
)


def _exchange(said: Message, call: Message, text: str, answer: Message) -> list[Message]:
    results = [{"role": "tool", "tool_call_id": each["id"], "content": text} for each in call["tool_calls"]]
    return [said, call, *results, answer]


EXCHANGES: st.SearchStrategy[list[Message]] = st.builds(
    _exchange,
    _message("user", content=TEXTS),
    _message("assistant", content=TEXTS, tool_calls=CALLS),
    TEXTS,
    _message("assistant", content=TEXTS),
)


@dataclass(frozen=True)
class History:
    """So many messages out of these pieces in an order; written down in short, where a test shows it."""

    pieces: list[list[Message]]
    size: int
    seed: int

    def messages(self) -> list[Message]:
        order = random.Random(self.seed).choices(self.pieces, k=self.size)
        return [message for piece in order for message in piece][: self.size]


# Exchanges as they should be, and messages in any order.
HISTORIES: st.SearchStrategy[History] = st.builds(
    History,
    st.lists(EXCHANGES | st.lists(MESSAGES, min_size=1, max_size=3), min_size=1, max_size=8),
    st.integers(1, 40) | st.integers(500, MOST_MESSAGES),
    st.integers(0, 1_000_000),
)


def pairs(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Each result with the last call before it that it can be an answer to, by their positions."""
    found, called = [], dict[str, int]()
    for at, message in enumerate(messages):
        for call in message.get("tool_calls", []):
            called[f"tool {call['id']}"] = at
        if "function_call" in message:
            called[f"function {message['function_call']['name']}"] = at
        answered = {"tool": "tool_call_id", "function": "name"}.get(message["role"])
        if answered and (call := called.get(f"{message['role']} {message[answered]}")) is not None:
            found.append((call, at))
    return found
