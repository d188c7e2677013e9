"""How events travel: the durable log and the ephemeral live channel."""
