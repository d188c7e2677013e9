"""Interactions written to files, as jobs."""
