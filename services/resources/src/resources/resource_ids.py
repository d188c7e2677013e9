"""Which ids and version numbers can name a resource."""

import re

# PostgreSQL's integer: a larger number names no version.
MAX_VERSION = 2**31 - 1
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")


def is_id(id: str) -> bool:
    """Whether this may go into a path of the provider's and a key of ours."""
    return ID.fullmatch(id) is not None
