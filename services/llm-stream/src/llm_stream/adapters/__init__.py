"""Adapters of the ports of llm-stream."""
