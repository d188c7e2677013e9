"""Stores every turn once and answers queries about usage."""
