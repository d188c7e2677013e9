"""Engines for media."""

from tests.support.media import media_world

__all__ = ["media_world"]
