"""Webhooks out: what happened is sent to the endpoints of an organisation, signed, until it is received."""
