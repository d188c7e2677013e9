"""Search in documents."""
