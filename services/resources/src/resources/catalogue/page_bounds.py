"""Which pages of a list can be asked for."""

from common.failures import Refused

MAX_PAGE_SIZE = 100
# OFFSET is a 64-bit number; far below that a page is empty anyway.
MAX_PAGE_NUMBER = 1_000_000


def page_size(number: int, size: int) -> int:
    """The size; raises `Refused` (400) for a page that cannot be."""
    if not 0 <= number <= MAX_PAGE_NUMBER:
        raise Refused(400, f"'page_number' must be between 0 and {MAX_PAGE_NUMBER}.", "invalid_value", "page_number")
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise Refused(400, f"'page_size' must be between 1 and {MAX_PAGE_SIZE}.", "invalid_value", "page_size")
    return size
