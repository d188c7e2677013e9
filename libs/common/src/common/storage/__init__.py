"""Connections to the stores: PostgreSQL, Redis or Valkey."""
