"""What carries batches away."""
