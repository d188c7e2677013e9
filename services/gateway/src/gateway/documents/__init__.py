"""Documents, and search in them."""
