"""Counts the texts of conversations, and remembers: a conversation comes back with every turn, and one message more."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import structlog

from llm_stream.ports import Tokenizer, Tokenizers, TokenizerUnavailable

log = structlog.get_logger(__name__)

# Counts of so many texts are remembered twice over, at some 100 bytes each.
REMEMBERED = 32_768
# So much takes less than a millisecond, and a thread would cost more. A text weighs more than it is long.
INLINE_WEIGHT = 16_384
TEXT_WEIGHT = 64
# In a thread others come in between after this much.
BATCH_WEIGHT = 65_536
THREADS = 2
# UTF-8 is about four bytes a token over scripts: a letter of Latin takes one, a character of Chinese three.
BYTES_PER_TOKEN = 4


class EstimatingTokenizer:
    """Counts by the length in UTF-8, for models whose tokenizer is not known."""

    def count(self, text: str) -> int:
        """The tokens of a text, by estimate."""
        size = len(text) if text.isascii() else len(text.encode(errors="replace"))
        return -(-size // BYTES_PER_TOKEN)


class _Remembered:
    """Counts by the hash of their text: the newest `REMEMBERED` of them, and some older ones.

    The texts themselves are not kept. That two of a hundred thousand have one hash happens once in a billion times,
    and nobody can bring it about: Python salts its hashes.
    """

    def __init__(self) -> None:
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def get(self, key: int) -> int | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: int, count: int) -> None:
        if len(self._young) >= REMEMBERED:
            self._old, self._young = self._young, {}
        self._young[key] = count


class TokenCounter:
    """Texts as the tokenizers count them; long ones are counted beside the loop."""

    def __init__(self, tokenizers: Tokenizers, threads: ThreadPoolExecutor) -> None:
        self._tokenizers = tokenizers
        self._threads = threads
        self._ready: dict[str | None, Tokenizer | None] = {None: EstimatingTokenizer()}
        self._names: dict[tuple[str, ...], str | None] = {}
        self._remembered = _Remembered()

    async def tokenizer_of(self, models: tuple[str, ...]) -> str | None:
        """The tokenizer that all these models are known to have; None where there is none."""
        if models not in self._names:
            # The first time a library is imported for it.
            loop = asyncio.get_running_loop()
            self._names[models] = await loop.run_in_executor(self._threads, self._common, models)
        return self._names[models]

    def _common(self, models: tuple[str, ...]) -> str | None:
        names = {self._tokenizers.of_model(model) for model in models}
        return names.pop() if len(names) == 1 else None

    async def load(self, name: str | None) -> bool:
        """Have a tokenizer ready; False where it cannot be loaded, which is told once."""
        if name not in self._ready and name is not None:
            loop = asyncio.get_running_loop()
            try:
                self._ready[name] = await loop.run_in_executor(self._threads, self._tokenizers.load, name)
            except TokenizerUnavailable as error:
                self._ready[name] = None
                log.error("tokens are estimated", tokenizer=name, error=str(error))
        return self._ready[name] is not None

    async def counts(self, org_id: str, name: str | None, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, by a tokenizer that is ready; None is the estimate.

        What one organisation had counted makes nothing faster for another, which could tell from that what was said.
        """
        tokenizer = self._ready[name]
        if tokenizer is None:
            raise TokenizerUnavailable(f"{name} is not there")
        keys = [hash((org_id, name, text)) for text in texts]
        get = self._remembered.get
        found = [get(key) for key in keys]
        if missing := [at for at, count in enumerate(found) if count is None]:
            counted = await self._count(tokenizer, [texts[at] for at in missing])
            for at, count in zip(missing, counted, strict=True):
                self._remembered.put(keys[at], count)
                found[at] = count
        return [count or 0 for count in found]

    async def _count(self, tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
        batches = _batches(texts)
        if len(batches) == 1 and _weight(texts) <= INLINE_WEIGHT:
            return [tokenizer.count(text) for text in texts]
        # On as many cores as there are threads; others still come in between two batches of each.
        lanes = await asyncio.gather(*(self._in_thread(tokenizer, batches[at::THREADS]) for at in range(THREADS)))
        return [count for at in range(len(batches)) for count in lanes[at % THREADS][at // THREADS]]

    async def _in_thread(self, tokenizer: Tokenizer, batches: Sequence[Sequence[str]]) -> list[list[int]]:
        """The counts of each batch, one batch after the other."""
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(self._threads, _counted, tokenizer, batch) for batch in batches]


def _counted(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    return [tokenizer.count(text) for text in texts]


def _weight(texts: Sequence[str]) -> int:
    return sum(map(len, texts)) + TEXT_WEIGHT * len(texts)


def _batches(texts: Sequence[str]) -> list[list[str]]:
    """The texts in batches of about `BATCH_WEIGHT`."""
    batches: list[list[str]] = []
    room = 0
    for text in texts:
        if room <= 0:
            batches.append([])
            room = BATCH_WEIGHT
        batches[-1].append(text)
        room -= len(text) + TEXT_WEIGHT
    return batches


@asynccontextmanager
async def open_token_counter(tokenizers: Tokenizers) -> AsyncIterator[TokenCounter]:
    """A counter with its threads."""
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="count-tokens")
    try:
        yield TokenCounter(tokenizers, threads)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
