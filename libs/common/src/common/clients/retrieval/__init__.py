"""Passages of documents, as any process asks for them."""
