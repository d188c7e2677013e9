"""What every route shares: reading requests, the one error shape, limits, idempotency, OpenAPI."""
