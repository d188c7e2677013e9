"""Opening a batch: unsealed, parsed, masked and made into rows, off the event loop where it is large."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import orjson
import structlog

from common.events.interaction_ids import day_of
from common.events.interactions import InteractionsAccepted
from common.failures import Park
from common.secret_box import SecretBox, SecretError
from common.storage.sealed_items import open_items
from telemetry import metrics
from telemetry.interactions.item_rows import Source, Terms, item_rows
from telemetry.row_shapes import BatchRows, ItemRows

log = structlog.get_logger(__name__)

# A batch of this size is opened at once: a thread would cost more than it frees.
SMALL_BYTES = 16 * 1024
# What is being opened or written at the same time, in bytes of unpacked items; each takes several times its bytes.
# One batch that is larger goes alone.
OPEN_BYTES = 24 * 1024 * 1024


class Openings:
    """Opens batches, as many at a time as memory allows, the large ones in threads."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box
        self._left = OPEN_BYTES
        self._changed = asyncio.Condition()
        # A large batch keeps no other waiting.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="open-batch")

    @asynccontextmanager
    async def opened(self, batch: InteractionsAccepted, terms: Terms) -> AsyncIterator[BatchRows]:
        """The rows of a batch, as long as they are needed. Raises Park for a batch that cannot be opened."""
        weight = min(batch.size, OPEN_BYTES)
        async with self._changed:
            await self._changed.wait_for(lambda: self._left >= weight)
            self._left -= weight
        try:
            if batch.size <= SMALL_BYTES:
                yield open_batch(batch, terms, self._box)
            else:
                loop = asyncio.get_running_loop()
                yield await loop.run_in_executor(self._threads, open_batch, batch, terms, self._box)
        finally:
            async with self._changed:
                self._left += weight
                self._changed.notify_all()

    def close(self) -> None:
        """Wait for none that has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def open_batch(batch: InteractionsAccepted, terms: Terms, box: SecretBox) -> BatchRows:
    """The rows of a batch. Raises Park, with a message that says nothing of what is in it."""
    try:
        items = orjson.loads(open_items(batch.sealed, batch.org_id, box))
    except SecretError as error:
        raise Park(str(error)) from None
    except ValueError:
        raise Park("the batch cannot be unpacked") from None
    source = Source(batch.org_id, batch.key_id, batch.batch_id, batch.accepted_at, batch.origin)
    return BatchRows(
        batch.batch_id,
        batch.org_id,
        batch.accepted_at,
        batch.hour,
        batch.source,
        batch.confirmed,
        [_rows(position, item, source, terms) for position, item in items],
    )


def _rows(position: int, item: dict[str, object], source: Source, terms: Terms) -> ItemRows:
    try:
        return item_rows(position, item, source, terms)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one item parks it, and its text goes nowhere
        metrics.ITEMS_UNFORESEEN.inc()
        kind = type(error).__name__
        log.error("item cannot be made into rows", batch_id=source.batch_id, position=position, error=kind)
        id = str(item["id"])
        return ItemRows(position, id, day_of(id), "parked", f"not storable: {kind}")
