"""Interactions in: validated item by item, and accepted once the log has them."""
