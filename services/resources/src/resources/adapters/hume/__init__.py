"""Hume over HTTP: catalogue, stock and access tokens of an account."""
