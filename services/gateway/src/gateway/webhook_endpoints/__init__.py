"""Webhooks out: endpoints of organisations and their deliveries over HTTP."""
