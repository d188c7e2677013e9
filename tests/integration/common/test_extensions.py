"""A PostgreSQL that lacks an extension says so, in a sentence that an operator can act on."""

import pytest

from common.storage.postgres import ExtensionMissing, require_extension


async def test_a_missing_extension_is_named(postgres_url: str) -> None:
    await require_extension(postgres_url, "vector")
    with pytest.raises(ExtensionMissing, match="no extension 'of_nobody': install it on the server"):
        await require_extension(postgres_url, "of_nobody")
