"""Prompts, configs, tools and voices with their versions, and how they get in and out."""
