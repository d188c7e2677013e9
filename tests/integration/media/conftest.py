"""Engines for media, and stand-ins of its providers."""

from tests.support.expressions import sandbox_url
from tests.support.media import media_world
from tests.support.peers import peer

__all__ = ["media_world", "peer", "sandbox_url"]
