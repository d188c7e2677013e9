"""API keys: issued once, stored as a digest, checked at every request."""
