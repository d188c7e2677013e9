"""Engines for media, and stand-ins of its providers."""

from tests.support.expressions import sandbox_url
from tests.support.media import media_world

__all__ = ["media_world", "sandbox_url"]
