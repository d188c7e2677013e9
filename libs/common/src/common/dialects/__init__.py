"""Dialects: how voice platforms and OpenAI's Responses API shape a request, and how each wants its answer written.

Pure functions over JSON. The gateway calls the reading half, llm-stream the writing half.
"""
