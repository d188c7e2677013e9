"""Stores every turn once and answers usage questions."""
