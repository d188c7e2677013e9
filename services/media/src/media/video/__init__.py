"""Clips from prompts."""
