"""Retrieval: what is looked up in documents for a turn, and how a model is shown what was found."""
