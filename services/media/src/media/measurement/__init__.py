"""Measurement of files: read safely, in worker processes, and the one shape of what was found."""
