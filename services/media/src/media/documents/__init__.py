"""Documents: taken in, listed, changed and taken away."""
