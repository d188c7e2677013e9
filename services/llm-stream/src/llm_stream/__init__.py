"""Answers chat requests from upstream models, streaming."""
