"""Calls to systems outside: how long they are waited for, when they are left alone, and which answers count."""
