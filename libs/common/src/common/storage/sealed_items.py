"""Items on their way through the log: packed, and sealed for their organisation, until they are masked and stored."""

import base64
import sys

from common.secret_box import SecretBox, SecretError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PURPOSE = "batch of interactions"
# Fast: four to six times smaller at some hundred megabytes a second. More would cost more than the log saves.
LEVEL = 1
# What may come out: the largest batch, and the ids that were given to its items.
MAX_OPENED_BYTES = 16 * 1024 * 1024


def seal_items(items: bytes, org_id: str, box: SecretBox) -> str:
    """JSON as text for a record. Raises SecretError where nothing can be sealed."""
    return base64.b64encode(box.seal_bytes(zstd.compress(items, LEVEL), org_id, PURPOSE)).decode()


def open_items(sealed: str, org_id: str, box: SecretBox) -> bytes:
    """The JSON that was sealed. Raises SecretError for what was not, and ValueError for what unpacks to too much."""
    try:
        packed = box.open_bytes(base64.b64decode(sealed, validate=True), org_id, PURPOSE)
    except ValueError:
        raise SecretError("this is no sealed batch") from None
    unpacking = zstd.ZstdDecompressor()
    items = unpacking.decompress(packed, MAX_OPENED_BYTES)
    if not unpacking.eof:
        raise ValueError(f"a batch unpacks to more than {MAX_OPENED_BYTES} bytes")
    return items
