"""Webhooks of providers: checked, published once, acknowledged."""
