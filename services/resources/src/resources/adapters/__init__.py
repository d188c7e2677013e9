"""Where resources meets the outside."""
